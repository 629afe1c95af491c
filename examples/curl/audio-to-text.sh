# Speech, written down, each sentence with its times.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/audio-to-text" -F audio=@examples/talk.wav
