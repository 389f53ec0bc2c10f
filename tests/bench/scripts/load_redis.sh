# load_redis.sh COMMANDS FOLDER: starts a server on a socket in FOLDER, loads it with COMMANDS, and stops it.
set -e
cd "$2"
rm -f redis.socket
redis-server --port 0 --unixsocket "$2/redis.socket" --save '' --appendonly no --dir "$2" --daemonize no \
  --loglevel warning >"$2/redis.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
tries=0
until redis-cli -s "$2/redis.socket" ping >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 200 ] || exit 1
  sleep 0.02
done
redis-cli -s "$2/redis.socket" --pipe <"$1" >"$2/redis.pipe" || { cat "$2/redis.pipe" >&2; exit 1; }
redis-cli -s "$2/redis.socket" dbsize
redis-cli -s "$2/redis.socket" shutdown nosave
wait "$server"
