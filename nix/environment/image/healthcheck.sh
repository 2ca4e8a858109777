#!@bash@/bin/bash
# Whether the server answers, at the port that the image names or another one.
exec 3<>"/dev/tcp/127.0.0.1/${1:-8000}" || exit 1
printf 'GET /health HTTP/1.0\r\n\r\n' >&3
read -r -t 5 _ status _ <&3
[[ $status == 200 ]]
