#!/bin/bash
# Answers what the host asks on the second serial port, one command after the other. In: a line `ID SECONDS SCRIPT`, the
# script in base64. Out: a line `ANSWER ID CODE .STDOUT .STDERR`, both in base64; and `READY BOOT_ID` once at the start.
exec 0<>/dev/ttyS1 1>&0 2>/dev/null
# Without this the line would be echoed, cut at 4,096 characters and have its ends changed.
stty raw -echo
# Not in /tmp, which is emptied while the machine boots.
outputs=/run/answer-commands
mkdir -p "$outputs"
echo "READY $(cat /proc/sys/kernel/random/boot_id)"
while read -r id seconds script; do
    base64 --decode <<< "$script" > "$outputs/script"
    timeout --kill-after=5 "$seconds" /bin/bash "$outputs/script" < /dev/null > "$outputs/out" 2> "$outputs/err"
    echo "ANSWER $id $? .$(base64 --wrap=0 "$outputs/out") .$(base64 --wrap=0 "$outputs/err")"
done
