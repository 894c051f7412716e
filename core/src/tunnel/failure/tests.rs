use super::*;
use crate::policy::SshTarget;
use crate::tunnel::Exit;

fn kind(said: &str) -> FailureKind {
    TunnelFailure::of_exit(Exit::Code(255), said).kind()
}

#[test]
fn words_of_openssh_are_understood() {
    use FailureKind as K;
    for (said, expected) in [
        ("Host key verification failed.", K::HostKeyUnknown),
        (
            "No RSA host key is known for studio and you have requested strict checking.\nHost key verification failed.",
            K::HostKeyUnknown,
        ),
        (
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nOffending ED25519 key in /h/known_hosts:3\nHost key verification failed.",
            K::HostKeyChanged,
        ),
        (
            "@       WARNING: REVOKED HOST KEY DETECTED!               @\nHost key verification failed.",
            K::HostKeyRevoked,
        ),
        (
            "nick@studio: Permission denied (publickey,password).",
            K::KeyRefused,
        ),
        (
            "Received disconnect from 10.0.0.2 port 22:2: Too many authentication failures\nDisconnected from 10.0.0.2 port 22",
            K::TooManyKeys,
        ),
        (
            "Warning: Identity file x not accessible: No such file or directory.\nnick@studio: Permission denied (publickey).",
            K::IdentityMissing,
        ),
        (
            "Warning: Identity file x not accessible: No such file or directory.\nssh: connect to host studio port 22: Connection refused",
            K::Refused,
        ),
        (
            "Permissions 0644 for 'x' are too open.\nIt is required that your private key files are NOT accessible by others.\nLoad key \"x\": bad permissions\nnick@studio: Permission denied (publickey).",
            K::IdentityExposed,
        ),
        (
            "Load key \"x\": error in libcrypto\nnick@studio: Permission denied (publickey).",
            K::IdentityUnusable,
        ),
        (
            "Load key \"x\": invalid format\nnick@studio: Permission denied (publickey).",
            K::IdentityUnusable,
        ),
        (
            "ssh: Could not resolve hostname studio: Name or service not known",
            K::NameNotFound,
        ),
        (
            "ssh: Could not resolve hostname studio: nodename nor servname provided, or not known",
            K::NameNotFound,
        ),
        (
            "ssh: connect to host studio port 22: Connection refused",
            K::Refused,
        ),
        (
            "ssh: connect to host studio port 22: No route to host",
            K::NoRoute,
        ),
        (
            "ssh: connect to host studio port 22: Network is unreachable",
            K::NoRoute,
        ),
        (
            "ssh: connect to host studio port 22: Connection timed out",
            K::TimedOut,
        ),
        (
            "ssh: connect to host studio port 22: Operation timed out",
            K::TimedOut,
        ),
        (
            "Connection timed out during banner exchange\nConnection to 10.0.0.2 port 22 timed out",
            K::TimedOut,
        ),
        (
            "Unable to negotiate with 10.0.0.2 port 22: no matching host key type found. Their offer: ssh-rsa",
            K::NoCommonAlgorithm,
        ),
        (
            "kex_exchange_identification: Connection closed by remote host",
            K::ClosedEarly,
        ),
        (
            "kex_exchange_identification: read: Connection reset by peer",
            K::ClosedEarly,
        ),
        (
            "banner exchange: Connection to 127.0.0.1 port 1: invalid format",
            K::ClosedEarly,
        ),
        ("Connection closed by 127.0.0.1 port 2299", K::ClosedEarly),
        ("Timeout, server studio not responding.", K::Silent),
        ("client_loop: send disconnect: Broken pipe", K::Lost),
        ("Connection to studio closed by remote host.", K::Lost),
        (
            "bind [127.0.0.1]:18789: Address already in use\nchannel_setup_fwd_listener_tcpip: cannot listen to port: 18789\nCould not request local forwarding.",
            K::LocalPortTaken,
        ),
        (
            "bind [127.0.0.1]:80: Permission denied\nchannel_setup_fwd_listener_tcpip: cannot listen to port: 80\nCould not request local forwarding.",
            K::LocalPortForbidden,
        ),
        (
            "Bad owner or permissions on /root/.ssh/config",
            K::BadSshConfig,
        ),
        (
            "c line 1: no argument after keyword \"junk\"\nc: terminating, 1 bad configuration options",
            K::BadSshConfig,
        ),
        (
            "c: line 1: Bad configuration option: junk\nc: terminating, 1 bad configuration options",
            K::BadSshConfig,
        ),
        ("", K::Other),
        // What happened to single connections is not why it ended.
        (
            "channel 2: open failed: connect failed: Connection refused\nTimeout, server studio not responding.",
            K::Silent,
        ),
    ] {
        assert_eq!(kind(said), expected, "{said}");
    }
}

#[test]
fn lines_of_a_running_ssh_tell_of_the_other_end() {
    let kind = |line| TunnelFailure::of_line(line).map(|failure| failure.kind());
    assert_eq!(
        kind("channel 2: open failed: connect failed: Connection refused"),
        Some(FailureKind::GatewayAbsent)
    );
    assert_eq!(
        kind("channel 3: open failed: administratively prohibited: open failed"),
        Some(FailureKind::ForwardForbidden)
    );
    assert_eq!(kind("Warning: Permanently added 'x'"), None);
}

#[test]
fn every_kind_says_what_to_do() {
    let spec = TunnelSpec::new(SshTarget::parse("nick@studio:2222").unwrap(), 18789);
    let mut codes = std::collections::BTreeSet::new();
    for kind in FailureKind::ALL {
        assert!(codes.insert(kind.code()), "{kind:?}");
        let failure = TunnelFailure::new(kind, "words");
        for text in [failure.message(&spec), failure.next_step(&spec)] {
            assert!(text.ends_with('.') && text.len() > 10, "{kind:?}: {text}");
        }
    }
}

#[test]
fn a_changed_key_names_the_file_and_the_entry() {
    let said = "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\n\
                Offending ED25519 key in /home/a b/known_hosts:12\n";
    let spec = TunnelSpec::new(SshTarget::parse("nick@studio:2222").unwrap(), 18789);
    let next = TunnelFailure::of_exit(Exit::Code(255), said).next_step(&spec);
    assert!(
        next.contains("`ssh-keygen -R '[studio]:2222' -f '/home/a b/known_hosts'`"),
        "{next}"
    );
    // `ssh` may know the machine by another name.
    let said = format!(
        "{said}Host key for [10.0.0.7]:2222 has changed and you have requested strict checking.\n"
    );
    let next = TunnelFailure::of_exit(Exit::Code(255), &said).next_step(&spec);
    assert!(
        next.contains("`ssh-keygen -R '[10.0.0.7]:2222' -f '/home/a b/known_hosts'`"),
        "{next}"
    );
}

#[test]
fn commands_can_be_pasted_whatever_a_target_holds() {
    let spec = TunnelSpec::new(SshTarget::parse("nick@h;rm$(x)'y").unwrap(), 18789);
    let next = TunnelFailure::new(FailureKind::KeyRefused, "").next_step(&spec);
    assert!(
        next.contains("`ssh-copy-id 'nick@h;rm$(x)'\\''y'`"),
        "{next}"
    );
}

#[test]
fn what_ssh_says_is_one_bounded_line() {
    let long = format!("x\u{1b}[2J{}", "y".repeat(5_000));
    let failure = TunnelFailure::of_exit(Exit::Code(255), &long);
    assert!(failure.said().len() <= MAX_SAID);
    assert!(!failure.said().contains('\u{1b}'));
}
