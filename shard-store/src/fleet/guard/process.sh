# Runs one process for as long as this script's parent lives.
#   usage: sh -c SCRIPT guard LOG INPUT COMMAND...
# stdin: a pipe whose only writer is the parent; its end is the order to kill.
# stdout: a pipe; gets the process id, and ends when the process has (which holds a copy as descriptor 9).
# stderr: any file; the process keeps it open as descriptor 8, so a lock on it lasts until the process has ended.
log=$1 input=$2
shift 2
exec 8>&2 2>>"$log"
"$@" 9>&1 <"$input" >>"$log" 2>&1 &
# Only the pipe ends this guard: the process that it starts has these signals as usual, the guard outlives them.
trap '' HUP INT TERM
process=$!
printf '%s\n' "$process"
exec >&-
read -r line
# The process first and its status taken, so that no zombie of it stays where nobody else collects them; then whatever
# else is in the group, this script included: a command that is itself a wrapper leaves nothing behind either.
kill -s KILL "$process"
wait "$process"
kill -s KILL 0
