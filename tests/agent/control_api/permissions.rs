//! Who may do what, over every call of the table: root, the group, others, and processes in namespaces of their own.

use super::described::{full_bench, request};
use super::*;
use agent::control::api::Fault;
use agent::control::routes::ENDPOINTS;
use std::process::Command as Program;

/// Says its effective user and then, for each line that it reads, the answer to that request: status, tab, body.
const CLIENT: &str = r#"
use IO::Socket::UNIX; $| = 1; print "uid $>\n";
while (my $line = <STDIN>) {
    chomp $line;
    my $server = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
    print $server "$line HTTP/1.1\r\nhost: x\r\n\r\n"; $server->flush;
    my $answer = do { local $/; <$server> };
    my ($head, $body) = split /\r\n\r\n/, $answer, 2; $body =~ tr/\n/ /;
    print((split / /, $head)[1], "\t$body\n");
}
"#;

/// A root of its own with little in it but /usr and the socket, in namespaces of its own for all but users: as in a
/// container that the socket was mounted into. `$1` is the socket, `$2` an empty folder, `$3` user and group, `$4` the client.
const NAMESPACES: &str = r#"
mount -t tmpfs none "$2"; mkdir "$2/usr" "$2/dev"; mount --rbind /usr "$2/usr"
: > "$2/dev/null"; mount --bind /dev/null "$2/dev/null"
for name in bin lib lib64; do [ -e /$name ] && ln -s usr/$name "$2/$name"; done
: > "$2/agent.sock"; mount --bind "$1" "$2/agent.sock"
exec chroot --userspec="$3" "$2" /usr/bin/perl -e "$4" /agent.sock
"#;

struct Identity {
    story: &'static str,
    /// As the agent sees it.
    uid: u32,
    /// As the process sees itself.
    inside: u32,
    /// Members by the user database.
    members: &'static str,
    may_change: bool,
    program: Program,
}

fn client(bench: &Bench) -> Program {
    let mut program = Program::new("perl");
    program.args(["-e", CLIENT]).arg(bench.paths().control_socket());
    program
}

fn client_as(bench: &Bench, uid: u32, gid: u32) -> Program {
    let mut program = client(bench);
    program.uid(uid).gid(gid).current_dir("/");
    program
}

fn in_namespaces(bench: &Bench, folder: &str, user: &str) -> Program {
    let folder = bench.root.path().join(folder);
    std::fs::create_dir(&folder).unwrap();
    let mut program = Program::new("unshare");
    program.args(["--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "sh", "-ec", NAMESPACES, "sh"]);
    program.arg(bench.paths().control_socket()).arg(folder).args([user, CLIENT]);
    program
}

/// Root of a user namespace that an ordinary user made.
fn as_root_of_a_user_namespace(bench: &Bench) -> Program {
    let mut program = Program::new("unshare");
    program.args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "perl", "-e", CLIENT]);
    program.arg(bench.paths().control_socket()).uid(NOBODY).gid(NOBODY).current_dir("/");
    program
}

fn user_namespaces_are_allowed() -> bool {
    let mut program = Program::new("unshare");
    let tried =
        program.args(["--user", "--map-root-user", "true"]).uid(NOBODY).gid(NOBODY).current_dir("/").output();
    tried.is_ok_and(|ended| ended.status.success())
}

const MEMBERS: u32 = 64990;

fn identities(bench: &Bench) -> Vec<Identity> {
    let identity = |story, uid, may_change, program| Identity {
        story,
        uid,
        inside: uid,
        members: "",
        may_change,
        program,
    };
    let mut all = vec![
        identity("root", 0, true, client(bench)),
        identity("another user", NOBODY, false, client_as(bench, NOBODY, NOBODY)),
        identity("a user whose own group it is", NOBODY, true, client_as(bench, NOBODY, MEMBERS)),
        Identity {
            members: "nobody",
            ..identity("a member by the user database", NOBODY, true, client_as(bench, NOBODY, NOBODY))
        },
        identity("another user in namespaces", NOBODY, false, in_namespaces(bench, "a", "65534:65534")),
        identity(
            "a user that exists in namespaces only",
            61234,
            false,
            in_namespaces(bench, "b", "61234:61234"),
        ),
        // Without a user namespace a container's root is the host's: whoever mounts the socket into one gives it away.
        identity("root in namespaces, users not among them", 0, true, in_namespaces(bench, "c", "0:0")),
    ];
    if user_namespaces_are_allowed() {
        let program = as_root_of_a_user_namespace(bench);
        all.push(Identity { inside: 0, ..identity("root of a user namespace", NOBODY, false, program) });
    } else {
        harness::requirements::skipped("ordinary users may make no user namespaces here");
    }
    all
}

/// The user that the client says it is, and its answers.
fn ask_all(identity: &mut Identity, requests: &[String]) -> (u32, Vec<(u16, String)>) {
    let program = identity.program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    child.stdin.take().unwrap().write_all((requests.join("\n") + "\n").as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let (said, story) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let mut lines = said.lines();
    let inside = lines.next().and_then(|line| line.strip_prefix("uid ")?.parse().ok());
    let inside = inside.unwrap_or_else(|| panic!("{}: {said}\n{story}", identity.story));
    let answers: Vec<(u16, String)> = lines
        .map(|line| {
            let (status, body) = line.split_once('\t').unwrap_or_else(|| panic!("{line}\n{story}"));
            (status.parse().unwrap(), body.to_owned())
        })
        .collect();
    assert_eq!(answers.len(), requests.len(), "{}: {said}\n{story}", identity.story);
    (inside, answers)
}

#[test]
fn every_call_is_for_whom_the_table_says_and_every_change_is_a_line_of_the_journal() {
    if !is_root() {
        return harness::requirements::skipped("other users can be tried by root only");
    }
    let groups = verbs::own_group_file();
    let bench = full_bench();
    let requests: Vec<String> = ENDPOINTS.iter().map(request).collect();
    let mut cells = 0;
    for mut identity in identities(&bench) {
        let group = format!("root:x:0:\nnogroup:x:{NOBODY}:\nnode-agent:x:{MEMBERS}:{}\n", identity.members);
        std::fs::write(groups.path(), group).unwrap();
        let before = bench.log.text().len();
        let (inside, answers) = ask_all(&mut identity, &requests);
        let Identity { story, uid, may_change, .. } = identity;
        assert_eq!(inside, identity.inside, "{story}");
        let log = bench.log.text()[before..].to_owned();
        for ((endpoint, request), (status, body)) in ENDPOINTS.iter().zip(&requests).zip(answers) {
            let story = format!("{story}: {request}: {status} {body}");
            cells += 1;
            // What it is told and what the journal says; what only looks is no line.
            let lines: Vec<&str> =
                log.lines().filter(|line| line.contains(&format!("asked for {request}"))).collect();
            if !endpoint.method.changes() {
                assert_eq!((status, lines.len()), (200, 0), "{story}\n{lines:#?}");
                continue;
            }
            let told = lines.first().unwrap_or_else(|| panic!("{story}: no line in\n{log}"));
            assert_eq!(lines.len(), 1, "{story}\n{lines:#?}");
            let pid =
                told.split(" (pid ").nth(1).and_then(|rest| rest.split(')').next()?.parse::<u32>().ok());
            assert!(pid.is_some_and(|pid| pid > 1), "{story}: {told}");
            if may_change {
                assert_eq!(status, 200, "{story}");
                assert!(told.contains(" INFO ") && told.contains(&format!(": uid {uid} (pid ")), "{told}");
                assert!(told.contains(&format!("asked for {request}: 200")), "{told}");
                continue;
            }
            let fault: Fault = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{story}: {error}"));
            assert_eq!((status, fault.code.as_str()), (403, "not_allowed"), "{story}");
            assert!(fault.hint.is_some_and(|hint| hint.contains("use sudo")), "{story}");
            assert!(
                told.contains(" WARN ") && told.contains(&format!("refused a command: uid {uid} (pid ")),
                "{told}"
            );
        }
    }
    harness::requirements::tried(&format!("{cells} cells"));
}

#[test]
fn no_line_of_the_journal_can_be_forged_by_what_is_asked_for() {
    let bench = full_bench();
    let before = bench.log.text().len();
    let asked = "POST /v1/services/api%0A%1b[2Juid=0/hold?to=%0d%0aINFO%20forged";
    let (status, body) = bench.ask(asked);
    assert_eq!(status, 404, "{body}");
    let log = bench.log.text()[before..].to_owned();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("asked for POST /v1/services/api%0A%1b[2Juid=0/hold?to=%0d%0aINFO%20forged: 404"),
        "{log}"
    );
}
