#!/bin/sh
# What cloud-init's scripts-user stage does, without cloud-init: fetch user data with IMDSv2, run it once per instance.
set -eu
done=/var/lib/cloud/user-data.done
[ ! -e "$done" ] || exit 0
base=http://169.254.169.254/latest
token=$(curl -fsS --retry 10 --retry-connrefused --retry-delay 1 -X PUT \
    -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$base/api/token")
mkdir -p /var/lib/cloud
curl -fsS -H "X-aws-ec2-metadata-token: $token" -o /var/lib/cloud/user-data "$base/user-data"
chmod 700 /var/lib/cloud/user-data
touch "$done"
{
    /var/lib/cloud/user-data && code=0 || code=$?
    echo "$code" > /var/lib/cloud/user-data.exit
} 2>&1 | tee -a /var/log/cloud-init-output.log
exit "$(cat /var/lib/cloud/user-data.exit)"
