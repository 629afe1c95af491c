# A question; the answer comes word by word, as server-sent events.
curl -sSfN "${SHOAL_URL:-http://127.0.0.1:9935}/llm" -H 'Content-Type: application/json' -d '{
  "messages": [
    {"role": "system", "content": "You are a helpful assistant. Answer in one short sentence."},
    {"role": "user", "content": "Which city is the capital of France?"}
  ],
  "max_tokens": 40, "temperature": 0, "stream": true
}'
