#!/bin/sh -e
release=node-agent-0.1.0-x86_64
tar -xzf "$release.tar.gz"
install -m 0755 "$release"/bin/* /usr/bin/
install -m 0644 "$release"/systemd/*.service /etc/systemd/system/; cp -r "$release/share" /usr/
for kind in sysusers tmpfiles; do install -D -m 0644 "$release/systemd/node-agent.$kind.conf" "/usr/lib/$kind.d/node-agent.conf"; done
[ ! -e node.toml ] || install -D -m 0640 node.toml /etc/node-agent/node.toml
systemctl enable node-bootstrap.service
[ "$1" != with-models ] || { node-bootstrap run && agentctl models pull --all --wait; }
