#!/bin/sh
# What cloud-init's scripts-user stage does, without cloud-init: fetch user data with IMDSv2, run its script once per
# instance. Of a MIME message the script is the part of type text/x-shellscript; anything else is not run.
set -eu
done=/var/lib/cloud/user-data.done
[ ! -e "$done" ] || exit 0
base=http://169.254.169.254/latest
token=$(curl -fsS --retry 10 --retry-connrefused --retry-delay 1 -X PUT \
    -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$base/api/token")
mkdir -p /var/lib/cloud
status=$(curl -sS -H "X-aws-ec2-metadata-token: $token" -o /var/lib/cloud/user-data -w '%{http_code}' "$base/user-data")
case "$status" in
200) ;;
404) exit 0 ;;
*) exit 22 ;;
esac
case "$(head -n 1 /var/lib/cloud/user-data)" in
'#!'*) ;;
MIME-Version:*)
    awk '/^--/ { ours = 0 } ours == 2 { print } /^$/ && ours == 1 { ours = 2 } /^Content-Type: text\/x-shellscript/ { ours = 1 }' \
        /var/lib/cloud/user-data > /var/lib/cloud/part
    mv /var/lib/cloud/part /var/lib/cloud/user-data ;;
*)
    touch "$done"
    exit 0 ;;
esac
chmod 700 /var/lib/cloud/user-data
touch "$done"
{
    /var/lib/cloud/user-data && code=0 || code=$?
    echo "$code" > /var/lib/cloud/user-data.exit
} 2>&1 | tee -a /var/log/cloud-init-output.log
exit "$(cat /var/lib/cloud/user-data.exit)"
