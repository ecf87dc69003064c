#!/bin/sh
set -e
curl -fsSo /usr/bin/node-bootstrap https://EXAMPLE-BUCKET.s3.amazonaws.com/node-bootstrap
echo "SHA256_OF_NODE_BOOTSTRAP  /usr/bin/node-bootstrap" | sha256sum --check --quiet && chmod 755 /usr/bin/node-bootstrap
exec node-bootstrap run --config - <<'EOF'
[agent]
url = "https://EXAMPLE-BUCKET.s3.amazonaws.com/node-agent-0.1.0-x86_64.tar.gz"
sha256 = "SHA256_OF_THE_TARBALL"
[services.web]
image = "${account}.dkr.ecr.${region}.amazonaws.com/web:latest"
ports = ["80:8000"]
health = { http = "/health" }
EOF
