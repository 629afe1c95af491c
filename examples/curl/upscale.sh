# A picture, twice as wide and as high.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/upscale" -H 'Accept: image/png' -o enlarged.png -F image=@examples/stars.jpg -F prompt= -F factor=2
