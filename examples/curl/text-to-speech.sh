# A text, spoken. `Accept` asks for the sound itself instead of JSON with its address.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/text-to-speech" -H 'Content-Type: application/json' -H 'Accept: audio/wav' -o spoken.wav \
  -d '{"text": "Nobody pays for work that did not arrive."}'
