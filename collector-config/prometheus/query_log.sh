#!/bin/sh
# Keeps of Prometheus's query log what people and programs asked, and drops the queries of our rules, which are most of it:
#   query_log.sh /var/lib/prometheus/query.log /var/log/prometheus-queries.log
# Each hour, from cron, as Prometheus's user. PROMETHEUS_PID is the process to signal, if there are several.
set -eu
log=$1 kept=$2

[ -e "$log" ] || exit 0
mv "$log" "$log.old"
# It opens the file anew when it reads its configuration again.
kill -HUP "${PROMETHEUS_PID:-$(pidof prometheus)}"
until [ -e "$log" ]; do sleep 1; done
grep -v '"ruleGroup":' "$log.old" >> "$kept" || [ $? = 1 ]
rm "$log.old"
