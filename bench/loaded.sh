#!/usr/bin/env bash
# Runs a command, or else the tests, while eight processes keep the machine busy.
set -u

if [ $# -eq 0 ]; then
  cd "$(dirname "$0")/.." || exit
  # as in the Makefile
  set -- .venv/bin/python -m pytest -n 2 --dist loadfile
fi

busy=()
trap 'kill "${busy[@]}"' EXIT
for _ in {1..8}; do
  while :; do :; done &
  busy+=($!)
done

"$@"
