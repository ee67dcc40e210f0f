#!/usr/bin/env bash
# Starts Debian's ejabberd, which must be installed, as anser-loadtest measures it; as root, for it
# runs as a user of its own. Its files are in /tmp/anser-ejabberd, made anew each time.
# Not by `su`, as its own launcher does: that would leave it 1,024 open files.
set -euo pipefail

folder=/tmp/anser-ejabberd
rm -rf "$folder"
install -d -o ejabberd "$folder"
cp "$(dirname "$0")/ejabberd.yml" "$folder/"
cd "$folder"
exec env HOME="$folder" setpriv --reuid ejabberd --regid ejabberd --init-groups \
    ejabberdctl --config-dir "$folder" --spool "$folder" --logs "$folder" foreground
