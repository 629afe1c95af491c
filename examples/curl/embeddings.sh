# Two texts as vectors.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/v1/embeddings" -H 'Content-Type: application/json' -o vectors.json \
  -d '{"model": "sentence-transformers/all-MiniLM-L6-v2", "input": ["a cat", "a kitten"]}'
