# A photograph, painted in the style of another picture.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/image-to-image" -H 'Accept: image/png' -o painted.png \
  -F image=@examples/coffee.jpg -F style_image=@examples/stars.jpg -F prompt= -F strength=0.8
