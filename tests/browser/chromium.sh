#!/bin/sh
# Installs Chromium by apt where it is missing: these tests need a real browser.
set -eu

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done

give_up() {
    echo "The tests in tests/browser need Chromium: $1" >&2
    echo "Install it, or leave them out: pytest --ignore=tests/browser" >&2
    exit 1
}

command -v apt-get >/dev/null || give_up "there is no apt-get to install it with."
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || give_up "only root can install it."
    as_root="sudo"
fi
$as_root apt-get update --quiet || give_up "apt-get update failed."
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium fonts-dejavu-core ||
    give_up "apt-get could not install it."
