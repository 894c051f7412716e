use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use clawgate_core::job::{JobEnd, JobEvent, JobSpec, ProgramJob, Reached};
use rustix::process::{Pid, test_kill_process};

use crate::rig::Rig;

fn shell(script: &str) -> ProgramJob {
    ProgramJob {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        cwd: None,
        env: [("GIVEN".to_owned(), "given".to_owned())].into(),
        withheld: BTreeSet::new(),
        max_output: 100_000,
        grace: Duration::from_millis(200),
    }
}

fn exit(code: i32) -> JobEvent {
    JobEvent::Ended(JobEnd::Exit(Some(code)))
}

/// Waits until a process is gone.
fn gone(pid: &str) {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    while test_kill_process(pid).is_ok() && !is_zombie(pid) {
        std::thread::yield_now();
    }
}

/// Nobody may be there to reap what was left behind, as in a container without an init.
fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

#[test]
fn a_program_is_fed_and_what_it_writes_is_told_in_order() {
    let mut rig = Rig::new();
    let told = rig.start(JobSpec::Program(shell(
        "while read -r line; do echo \"got $line\"; [ \"$line\" = end ] && exit 3; done",
    )));
    for line in ["one\n", "two\n", "end\n"] {
        rig.jobs.feed(told.id, Bytes::from_static(line.as_bytes()));
    }
    let (data, last) = told.rest();
    assert_eq!(
        String::from_utf8(data).unwrap(),
        "got one\ngot two\ngot end\n"
    );
    assert_eq!(last, exit(3));
    rig.jobs.feed(told.id, Bytes::from_static(b"late\n"));
    assert!(rig.jobs.is_empty());
}

#[test]
fn the_environment_is_the_hosts_without_what_is_withheld() {
    // Every process has these two.
    let mut job = shell("echo \"${PATH:+path} ${HOME:+home} $GIVEN\"; pwd");
    job.withheld = ["HOME".to_owned()].into();
    job.cwd = Some("/".into());
    let (data, _) = Rig::new().start(JobSpec::Program(job)).rest_of();
    assert_eq!(data, "path  given\n/\n");
}

#[test]
fn a_program_that_is_not_there_reached_nobody() {
    let mut job = shell("");
    job.argv = vec!["/nowhere/agent".into()];
    let mut rig = Rig::new();
    let (_, last) = rig.start(JobSpec::Program(job)).rest();
    let JobEvent::Failed(failure) = last else {
        panic!("{last:?}");
    };
    assert_eq!(failure.reached, Reached::No);
    assert!(
        failure
            .message
            .contains("/nowhere/agent could not be started: no such file")
    );
}

#[test]
fn a_flood_ends_the_program() {
    let mut rig = Rig::new();
    let told = rig.start(JobSpec::Program(shell(
        "echo $$; while :; do echo flood; done",
    )));
    let pid = told.until("\n");
    let (data, last) = told.rest();
    assert!(data.len() <= 100_000);
    assert!(matches!(last, JobEvent::Failed(failure) if failure.message.contains("100000 bytes")));
    gone(pid.lines().next().unwrap());
}

#[test]
fn much_on_standard_error_and_much_unread_input_hold_up_nobody() {
    let mut rig = Rig::new();
    let told = rig.start(JobSpec::Program(shell(
        "head -c 300000 /dev/zero | tr '\\0' x >&2; echo through",
    )));
    rig.jobs.feed(told.id, Bytes::from(vec![b'x'; 1_000_000]));
    let (data, last) = told.rest();
    assert_eq!((data.as_slice(), last), (&b"through\n"[..], exit(0)));
}

#[test]
fn a_stop_closes_the_input_so_that_a_program_can_end_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("last");
    let mut job = shell("echo up; cat > /dev/null; echo done > \"$FILE\"");
    job.env.insert("FILE".into(), file.display().to_string());
    job.grace = Duration::from_secs(60);
    let mut rig = Rig::new();
    let told = rig.start(JobSpec::Program(job));
    told.until("up\n");
    rig.jobs.stop(told.id);
    assert!(told.ends_silently());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "done\n");
}

#[test]
fn a_stop_kills_what_does_not_end_with_everything_that_it_started() {
    let mut rig = Rig::new();
    let told = rig.start(JobSpec::Program(shell(
        "trap '' TERM HUP; sleep 1000 & echo $$ $!; while :; do wait; sleep 1000; done",
    )));
    let pids = told.until("\n");
    rig.jobs.stop(told.id);
    assert!(told.ends_silently());
    pids.split_whitespace().for_each(gone);
}

#[test]
fn what_a_program_leaves_behind_in_its_group_ends_too() {
    let mut rig = Rig::new();
    let told = rig.start(JobSpec::Program(shell("sleep 1000 & echo $!; exit 0")));
    let (data, last) = told.rest();
    assert_eq!(last, exit(0));
    gone(std::str::from_utf8(&data).unwrap());
}

#[test]
fn programs_end_with_the_jobs() {
    let mut rig = Rig::new();
    let told = rig.start(JobSpec::Program(shell("echo $$; sleep 1000")));
    let pid = told.until("\n");
    drop(rig.jobs);
    assert!(told.ends_silently());
    gone(&pid);
}

impl crate::rig::Told {
    fn rest_of(&self) -> (String, JobEvent) {
        let (data, last) = self.rest();
        (String::from_utf8(data).unwrap(), last)
    }
}
