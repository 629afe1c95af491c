# A photograph, brought into motion: two seconds of film.
curl -sSf "${SHOAL_URL:-http://127.0.0.1:9935}/image-to-video" -H 'Accept: video/mp4' -o film.mp4 \
  -F image=@examples/cat.jpg -F width=256 -F height=168 -F num_frames=16 -F fps=8 -F motion_bucket_id=180
