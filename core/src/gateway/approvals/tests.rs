//! Questions of runs, which other parts of the gateway ask.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    device::DeviceIdentity,
    gateway::{AdmissionPolicy, GatewaySetup, HostInfo},
    policy::AuthRule,
    store::{Table, Write},
    time::WallTime,
};

fn start() -> Now {
    #[allow(clippy::disallowed_methods, reason = "any start will do")]
    Now {
        mono: Instant::now(),
        wall: WallTime(1_737_264_000_000),
    }
}

fn gateway(rows: &[Row], now: Now) -> Gateway {
    let setup = GatewaySetup {
        limits: Arc::new(Limits::default()),
        admission: AdmissionPolicy::new(AuthRule::None),
        host: HostInfo::new("0.0.0", "host"),
        identity: Arc::new(DeviceIdentity::from_seed(&[1; 32])),
    };
    Gateway::restore(setup, rows, [7; 32], now)
}

fn of_run(run: &str) -> ApprovalOrigin {
    ApprovalOrigin::Run {
        run: RunId::new(run),
        call: ToolCallId::new("call"),
    }
}

fn ask(gateway: &mut Gateway, now: Now, run: &str, reach: Reach) -> ApprovalId {
    let mut ask = ApprovalAsk::command("ls");
    ask.reach = reach;
    ask.timeout = Some(Duration::from_secs(5));
    gateway.request_approval(now, ask, of_run(run)).unwrap()
}

/// Ends an input; gives the rows that it wrote, as they are on disk.
fn written(gateway: &mut Gateway) -> Vec<Row> {
    gateway.out.seal();
    let commit = gateway.poll_commit().unwrap();
    commit
        .writes
        .into_iter()
        .filter_map(|write| match write {
            Write::Put {
                table: table @ Table::ExecApproval,
                key,
                document,
            } => Some(Row {
                table,
                key,
                document,
            }),
            Write::Append(_)
            | Write::Audit { .. }
            | Write::Delete { .. }
            | Write::Forget { .. }
            | Write::Put { .. } => None,
        })
        .collect()
}

#[test]
fn a_run_is_told_once_of_each_decision() {
    let now = start();
    let mut gateway = gateway(&[], now);
    let nobody = ask(&mut gateway, now, "r0", Reach::Needed);
    let decided = ask(&mut gateway, now, "r1", Reach::Optional);
    let late = ask(&mut gateway, now, "r2", Reach::Optional);
    ask(&mut gateway, now, "r3", Reach::Optional);
    let allow = Ending::Decided {
        decision: Decision::AllowOnce,
        resolver: Resolver {
            kind: ResolverKind::Runtime,
            id: None,
        },
        label: None,
    };
    assert!(
        gateway
            .end_approval(now, &decided, allow.clone(), None)
            .is_some()
    );
    assert!(gateway.end_approval(now, &decided, allow, None).is_none());
    gateway.cancel_approvals_of(now, &RunId::new("r3"));
    gateway.expire_approvals(now.after(Duration::from_secs(5)));
    let told: Vec<(String, Option<Decision>)> = gateway
        .take_run_decisions()
        .into_iter()
        .map(|told| (told.run.to_string(), told.decision))
        .collect();
    let expected = [
        ("r0", None),
        ("r1", Some(Decision::AllowOnce)),
        ("r3", None),
        ("r2", None),
    ];
    assert_eq!(
        told,
        expected.map(|(run, decision)| (run.to_owned(), decision))
    );
    assert!(gateway.take_run_decisions().is_empty());
    for (id, reason) in [(nobody, "no-route"), (late, "timeout")] {
        let ended = gateway.approvals.get(id.as_str()).unwrap().ended.clone();
        assert_eq!(ended.unwrap().ending.reason(), reason);
    }
}

#[test]
fn a_run_does_not_outlive_its_gateway_and_neither_does_its_question() {
    let now = start();
    let mut first = gateway(&[], now);
    let id = ask(&mut first, now, "r", Reach::Optional);
    let rows = written(&mut first);
    let mut second = gateway(&rows, now.after(Duration::from_secs(1)));
    assert_eq!(second.approvals.pending().count(), 0);
    assert!(second.approvals.next_end().is_none());
    let rows = written(&mut second);
    assert_eq!(rows.len(), 1, "it is written down");
    let kept = second.approvals.get(id.as_str()).unwrap();
    assert_eq!(kept.ended.as_ref().unwrap().ending, Ending::GatewayRestart);
}
