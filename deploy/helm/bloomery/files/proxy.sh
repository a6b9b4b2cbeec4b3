#!/bin/sh
# Serves, and lets nginx read certificates and authorities again when they were exchanged: it keeps those of its start.
state() { cat /etc/bloomery/endpoint/* /etc/bloomery/tls/* | cksum; }
conf=/etc/bloomery/proxy/nginx.conf
served=$(state)
nginx -e stderr -c $conf -g 'daemon off;' &
server=$!
trap 'kill -QUIT $server' TERM QUIT INT
while kill -0 $server 2>/dev/null; do
  sleep 5 &
  wait $!
  now=$(state)
  if [ "$now" != "$served" ] && nginx -e stderr -c $conf -q -t && kill -HUP $server; then
    served=$now
    echo "credentials loaded" >&2
  fi
done
wait $server
