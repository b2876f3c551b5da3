# Makes a folder that lives as long as this script's parent.
#   usage: sh -c SCRIPT guard FOLDER
# stdin: a pipe whose only writer is the parent; its end is the order to remove. stdout: gets "ready".
folder=$1
trap '' HUP INT TERM
mkdir -m 700 -- "$folder" || exit 1
printf 'ready\n'
exec >&- 2>&-
read -r line
# Processes that are being killed at the same moment may still create files: again until nothing is left.
tries=0
until rm -rf -- "$folder"; do
  tries=$((tries + 1))
  [ "$tries" -lt 300 ] || exit 1
  sleep 0.1
done
