# A picture, drawn from a few words in the manner of emoji. The same seed draws the same picture.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/text-to-image" -H 'Content-Type: application/json' -H 'Accept: image/png' -o drawn.png \
  -d '{"prompt": "a red heart", "width": 256, "height": 256, "seed": 4}'
