#!/bin/sh
# Deploys one image of one service and says how it went: deploy.sh SERVICE TAG-OR-DIGEST [SECONDS]
#
# Made for SSM Run Command (deploy.json has it as a document), and for any shell on the node. It knows nothing but
# agentctl. Exit code 0: exactly that image runs and passes its health check. 1: it does not, the old one serves, and the
# cause and the last lines of the new one are printed. 2: wrong usage, such as a service that there is not. 3: no agent.
set -eu
service=${1:?usage: deploy.sh SERVICE TAG-OR-DIGEST [SECONDS]}
image=${2:?usage: deploy.sh SERVICE TAG-OR-DIGEST [SECONDS]}
seconds=${3:-600}

# Whoever deploys to a node that is not well should see it before, not after.
agentctl status >/dev/null || {
    code=$?
    agentctl status || true
    [ "$code" != 3 ] || exit 3
    echo "the node is not ready; deploying all the same"
}
code=0
agentctl update "$service" --to "$image" --wait --timeout "$seconds" || code=$?
if [ "$code" != 0 ]; then
    agentctl explain "$service" || true
fi
exit "$code"
