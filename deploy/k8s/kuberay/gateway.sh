# A node of the Ray cluster that runs nothing of Ray's, and the gateway beside it. When one ends, so does the other: the
# container is started again, and joins the cluster that stands then.
stop() {
    # The gateway finishes what it can before its node goes.
    [ -n "$gateway" ] && kill "$gateway" 2>/dev/null && wait "$gateway"
    kill $(jobs -p) 2>/dev/null
    wait
    exit "$1"
}
trap 'stop 0' TERM INT
# /tmp outlives the container, and what it says of an earlier cluster would be believed.
rm -rf /tmp/ray
ray start --address="$RAY_HEAD" --num-cpus=0 --object-store-memory=100000000 --disable-usage-stats --block &
node=$!
python -m service.gateway --host "$MULL_GATEWAY__HOST" --port "$MULL_GATEWAY__PORT" &
gateway=$!
# Not `wait -n`: it does not see one that has ended before it is called.
while kill -0 "$node" 2>/dev/null && kill -0 "$gateway" 2>/dev/null; do
    sleep 1 & wait $!
done
stop 1
