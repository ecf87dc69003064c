#!/bin/sh -e
release=node-agent-0.1.0-x86_64
tar -xzf "$release.tar.gz"
install -m 0755 "$release"/bin/* /usr/bin/
install -m 0644 "$release"/systemd/*.service /etc/systemd/system/
install -D -m 0644 "$release/systemd/node-agent.sysusers.conf" /usr/lib/sysusers.d/node-agent.conf
install -D -m 0644 "$release/systemd/node-agent.tmpfiles.conf" /usr/lib/tmpfiles.d/node-agent.conf
[ ! -e node.toml ] || install -D -m 0640 node.toml /etc/node-agent/node.toml
systemctl enable node-bootstrap.service
