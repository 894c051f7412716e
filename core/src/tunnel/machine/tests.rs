use super::*;

const MS: Duration = Duration::from_millis(1);

struct Rig {
    tunnel: Tunnel,
    now: Instant,
}

impl Rig {
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn new(patience: Patience) -> Self {
        Self {
            tunnel: Tunnel::new(TunnelSettings::new(18789, patience), [1; 32]),
            now: Instant::now(),
        }
    }

    fn action(&mut self) -> Option<Action> {
        self.tunnel.poll_action()
    }

    fn event(&mut self) -> Option<Event> {
        self.tunnel.poll_event()
    }

    fn wake(&mut self) {
        self.now = self.tunnel.poll_timeout().unwrap().max(self.now);
        self.tunnel.handle_timeout(self.now);
    }

    fn start(&mut self) -> u16 {
        let Some(Action::FindPort { wanted }) = self.action() else {
            panic!()
        };
        self.tunnel.handle_ports(self.now, Some(wanted), None);
        assert_eq!(self.action(), Some(Action::Start { port: wanted }));
        self.tunnel.handle_started(self.now);
        assert_eq!(self.event(), Some(Event::Opening { port: wanted }));
        wanted
    }

    fn open(&mut self) -> u16 {
        let port = self.start();
        self.wake();
        assert_eq!(self.action(), Some(Action::Look { port }));
        self.tunnel.handle_listener(self.now, Listener::Ours);
        assert_eq!(self.event(), Some(Event::Open { port }));
        port
    }

    fn exit(&mut self, said: &str) {
        self.tunnel.handle_stderr(said);
        self.tunnel.handle_exit(self.now, Exit::Code(255));
    }
}

#[test]
fn what_time_does_not_mend_is_given_up() {
    for patience in [Patience::Retry, Patience::FirstMustSucceed] {
        let mut rig = Rig::new(patience);
        rig.start();
        rig.exit("Host key verification failed.");
        assert!(
            matches!(rig.event(), Some(Event::GaveUp(failure)) if failure.kind() == FailureKind::HostKeyUnknown)
        );
        assert!(rig.tunnel.is_over());
    }
}

#[test]
fn somebody_who_waits_is_told_of_the_first_failure() {
    let refused = "ssh: connect to host studio port 22: Connection refused";
    let mut rig = Rig::new(Patience::FirstMustSucceed);
    rig.start();
    rig.exit(refused);
    assert!(matches!(rig.event(), Some(Event::GaveUp(_))));

    let mut rig = Rig::new(Patience::FirstMustSucceed);
    rig.open();
    rig.exit(refused);
    assert!(matches!(rig.event(), Some(Event::Lost { .. })));
    rig.wake();
    rig.open();
}

#[test]
fn pauses_grow_until_a_tunnel_stood_for_a_while() {
    let mut rig = Rig::new(Patience::Retry);
    let mut pauses = Vec::new();
    for _ in 0..4 {
        rig.open();
        rig.exit("Connection to studio closed by remote host.");
        let Some(Event::Lost { again_in, .. }) = rig.event() else {
            panic!()
        };
        pauses.push(again_in);
        rig.wake();
    }
    assert!(
        pauses.is_sorted() && pauses[3] > Duration::from_secs(4),
        "{pauses:?}"
    );
    rig.open();
    rig.now += GOOD_AFTER;
    rig.exit("Connection to studio closed by remote host.");
    assert!(
        matches!(rig.event(), Some(Event::Lost { again_in, .. }) if again_in <= Duration::from_secs(1))
    );
}

#[test]
fn a_port_that_is_taken_from_under_it_costs_nothing_but_another() {
    let mut rig = Rig::new(Patience::FirstMustSucceed);
    rig.start();
    rig.exit("bind [127.0.0.1]:18789: Address already in use");
    let find = Action::FindPort { wanted: 18789 };
    assert_eq!(rig.action(), Some(find));
    rig.tunnel.handle_ports(rig.now, None, Some(50_000));
    assert_eq!(rig.action(), Some(Action::Start { port: 50_000 }));
    rig.tunnel.handle_started(rig.now);
    rig.wake();
    rig.tunnel.handle_listener(rig.now, Listener::Ours);
    assert_eq!(rig.tunnel.open_port(), Some(50_000));
    // The port that people know by now is the one that is wanted next time.
    rig.exit("Connection to studio closed by remote host.");
    rig.action();
    rig.wake();
    assert_eq!(rig.action(), Some(Action::FindPort { wanted: 50_000 }));
}

#[test]
fn nothing_is_open_before_the_listener_is_ours() {
    let mut rig = Rig::new(Patience::FirstMustSucceed);
    let port = rig.start();
    let end = rig.now + Duration::from_secs(15);
    while rig.now < end {
        rig.wake();
        match rig.action() {
            Some(Action::Look { port: looked }) => {
                assert_eq!(looked, port);
                rig.tunnel.handle_listener(rig.now, Listener::Stranger);
                assert_eq!(rig.tunnel.open_port(), None);
            }
            Some(Action::Terminate) => break,
            other => panic!("{other:?}"),
        }
    }
    rig.tunnel.handle_exit(rig.now, Exit::Signal(15));
    assert!(
        matches!(rig.event(), Some(Event::GaveUp(failure)) if failure.kind() == FailureKind::Stranger)
    );
}

#[test]
fn nobody_who_waits_waits_for_a_long_pause() {
    let mut rig = Rig::new(Patience::Retry);
    for _ in 0..8 {
        rig.start();
        rig.exit("Connection refused");
        rig.event();
        let at = rig.tunnel.poll_timeout().unwrap();
        rig.tunnel.handle_wanted(rig.now);
        let wanted = rig.tunnel.poll_timeout().unwrap();
        assert!(wanted <= at && wanted <= rig.now + WANTED);
        // Asking again and again does not put it off.
        rig.tunnel.handle_wanted(rig.now + MS);
        assert_eq!(rig.tunnel.poll_timeout(), Some(wanted));
        rig.wake();
    }
}

#[test]
fn a_stop_asks_first_and_then_insists() {
    let mut rig = Rig::new(Patience::Retry);
    rig.open();
    rig.tunnel.stop(rig.now);
    assert_eq!(rig.action(), Some(Action::Terminate));
    let asked = rig.now;
    rig.wake();
    assert_eq!(rig.now, asked + KILL_AFTER);
    assert_eq!(rig.action(), Some(Action::Kill));
    assert_eq!(rig.tunnel.poll_timeout(), None);
    rig.tunnel.handle_exit(rig.now, Exit::Signal(9));
    assert_eq!(rig.event(), Some(Event::Stopped));
    assert!(rig.tunnel.is_over());
}

#[test]
fn a_stop_between_attempts_is_a_stop() {
    let mut rig = Rig::new(Patience::Retry);
    rig.open();
    rig.exit("Connection to studio closed by remote host.");
    rig.event();
    rig.tunnel.stop(rig.now);
    assert_eq!(rig.event(), Some(Event::Stopped));
    assert_eq!((rig.action(), rig.tunnel.poll_timeout()), (None, None));
}

#[test]
fn trouble_on_the_other_side_is_told_and_ends_nothing() {
    let mut rig = Rig::new(Patience::Retry);
    let port = rig.open();
    rig.tunnel
        .handle_stderr("channel 2: open failed: connect failed: Connection refused");
    assert!(
        matches!(rig.event(), Some(Event::Trouble(failure)) if failure.kind() == FailureKind::GatewayAbsent)
    );
    assert_eq!(rig.tunnel.open_port(), Some(port));
}

/// Whatever comes in whatever order: no panic, one `ssh` at a time, and an end when it is asked for.
#[test]
fn any_order_of_inputs_keeps_the_rules() {
    let mut rng = Rng::new([9; 32]);
    for _ in 0..2_000 {
        let mut rig = Rig::new(Patience::Retry);
        let mut running = false;
        let mut told = Vec::new();
        for _ in 0..40 {
            rig.now += MS * u32::try_from(rng.u64() % 3_000).unwrap();
            match rng.u64() % 8 {
                0 => rig.tunnel.handle_timeout(rig.now),
                1 => rig.tunnel.handle_listener(rig.now, Listener::Ours),
                2 => rig.tunnel.handle_listener(rig.now, Listener::Stranger),
                3 if running => {
                    running = false;
                    rig.exit("Connection refused");
                }
                4 => rig.tunnel.handle_stderr("é".repeat(900).as_str()),
                5 if rng.u64().is_multiple_of(8) => rig.tunnel.stop(rig.now),
                6 => rig.tunnel.handle_listener_lost(rig.now),
                _ => {}
            }
            while let Some(action) = rig.action() {
                match action {
                    Action::FindPort { wanted } => {
                        let free = rng.u64().is_multiple_of(2).then_some(wanted);
                        rig.tunnel.handle_ports(rig.now, free, Some(1));
                    }
                    Action::Start { .. } => {
                        assert!(!running, "two at once");
                        running = true;
                        rig.tunnel.handle_started(rig.now);
                    }
                    Action::Terminate | Action::Kill => assert!(running),
                    Action::Look { .. } => {}
                }
            }
            while let Some(event) = rig.event() {
                told.push(event);
            }
        }
        rig.tunnel.stop(rig.now);
        if running {
            rig.tunnel.handle_exit(rig.now, Exit::Signal(15));
        }
        while let Some(event) = rig.event() {
            told.push(event);
        }
        assert!(rig.tunnel.is_over(), "{told:?}");
        assert!(rig.tunnel.stderr.len() <= MAX_STDERR + 4);
    }
}
