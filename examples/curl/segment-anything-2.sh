# What is in the box: a mask of 1 and 0 for each pixel, as JSON.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/segment-anything-2" -o masks.json \
  -F image=@examples/coffee.jpg -F 'box=[72, 14, 484, 392]' -F multimask_output=false -F return_logits=false
