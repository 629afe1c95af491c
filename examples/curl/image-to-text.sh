# What a sign says.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/image-to-text" -F image=@examples/sign.png -F 'prompt=What does it say?'
