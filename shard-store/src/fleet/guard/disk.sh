# Mounts a file system in memory for as long as this script's parent lives.
#   usage: sh -c SCRIPT guard FOLDER BYTES
# stdin: a pipe whose only writer is the parent; its end is the order to unmount. stdout: gets "ready", or why not.
folder=$1
trap '' HUP INT TERM
mkdir -p -m 700 -- "$folder" || { printf 'no folder\n'; exit 1; }
said=$(mount -t tmpfs -o "size=$2,mode=700" tao-fleet "$folder" 2>&1) || { printf '%s\n' "$said"; exit 1; }
printf 'ready\n'
exec >&- 2>&-
read -r line
# Processes that are being killed at the same moment may still hold files: again until it goes; at last without waiting
# for them, so that it goes when they do.
tries=0
until umount -- "$folder"; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { umount -l -- "$folder"; exit 1; }
  sleep 0.1
done
