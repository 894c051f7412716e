use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use clawgate_core::job::{
    HeaderText, HttpHead, HttpJob, HttpMethod, JobEnd, JobEvent, JobFailure, JobSpec, Reached,
};
use clawgate_core::policy::{Endpoint, UrlPolicy};
use clawgate_core::secret::Secret;
use futures_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use futures_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto,
};

use crate::rig::Rig;

fn job(port: u16) -> HttpJob {
    HttpJob {
        method: HttpMethod::Post,
        url: Endpoint::parse(
            &format!("http://127.0.0.1:{port}/v1/x?y"),
            UrlPolicy::Strict,
        )
        .unwrap(),
        secret_path: None,
        headers: vec![
            ("content-type", HeaderText::Plain("application/json".into())),
            ("authorization", HeaderText::Secret(Secret::new("Bearer k"))),
        ],
        body: Bytes::from_static(b"{\"a\":1}"),
        connect: Duration::from_secs(30),
        idle: Duration::from_secs(30),
        max_body: 1_000,
    }
}

fn spec(job: HttpJob) -> JobSpec {
    JobSpec::Http(job)
}

/// A server for one connection; gives what it was asked.
fn serve(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        answer(&mut stream);
        request
    });
    (port, asked)
}

/// Reads up to the end of the body that all these requests have.
fn read_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"{\"a\":1}") {
        if stream.read(&mut byte).unwrap() == 0 {
            break;
        }
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

fn failure(event: JobEvent) -> JobFailure {
    match event {
        JobEvent::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_sent_as_it_is_and_its_answer_streamed() {
    let (next, go_on) = std::sync::mpsc::channel();
    let (port, asked) = serve(move |stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"4\r\none \r\n").unwrap();
        go_on.recv().unwrap();
        stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").unwrap();
    });
    let mut rig = Rig::new();
    let told = rig.start(spec(job(port)));
    let head = HttpHead {
        status: 200,
        content_type: Some("text/event-stream".into()),
        retry_after: None,
    };
    assert_eq!(told.next(), JobEvent::Head(head));
    assert_eq!(
        told.next(),
        JobEvent::Data("one ".into()),
        "it does not wait for the rest"
    );
    next.send(()).unwrap();
    assert_eq!(
        told.rest(),
        (b"two".to_vec(), JobEvent::Ended(JobEnd::Complete))
    );
    assert!(rig.jobs.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        asked.join().unwrap(),
        format!(
            "POST /v1/x?y HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nuser-agent: clawgate/{version}\r\n\
             connection: close\r\ncontent-length: 7\r\ncontent-type: application/json\r\n\
             authorization: Bearer k\r\n\r\n{{\"a\":1}}"
        )
    );
}

#[test]
fn a_rate_limit_is_told_with_its_wait_and_its_body() {
    let (port, _asked) = serve(|stream| {
        let answer = "HTTP/1.1 429 Slow down\r\nRetry-After: 7\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let told = Rig::new().start_and_keep(port);
    let JobEvent::Head(head) = told.0.next() else {
        panic!();
    };
    assert_eq!(
        (head.status, head.retry_after),
        (429, Some(Duration::from_secs(7)))
    );
    assert_eq!(
        told.0.rest(),
        (b"{}".to_vec(), JobEvent::Ended(JobEnd::Complete))
    );
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let (first, _asked) = serve(move |stream| {
        let answer = format!(
            "HTTP/1.1 307 There\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let told = Rig::new().start_and_keep(first);
    assert!(matches!(told.0.next(), JobEvent::Head(head) if head.status == 307));
    assert_eq!(told.0.rest().1, JobEvent::Ended(JobEnd::Complete));
    assert!(elsewhere.accept().is_err());
}

#[test]
fn answers_that_break_off_or_are_too_long_fail() {
    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(2_000));
    for (answer, part) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", "cut off"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n",
            "longer than 1000 bytes",
        ),
        (long.as_str(), "longer than 1000 bytes"),
        ("", "cut off"),
        ("nonsense\r\n\r\n", "no HTTP answer"),
    ] {
        let answer = answer.to_owned();
        let (port, _asked) = serve(move |stream| {
            // The job may have hung up already.
            let _ = stream.write_all(answer.as_bytes());
        });
        let told = Rig::new().start_and_keep(port);
        let last = loop {
            match told.0.next() {
                JobEvent::Head(_) | JobEvent::Data(_) => {}
                last => break last,
            }
        };
        let failure = failure(last);
        assert_eq!(failure.reached, Reached::Perhaps);
        assert!(
            failure.message.contains(part),
            "{part}: {}",
            failure.message
        );
    }
}

#[test]
fn a_reset_in_the_middle_is_a_failure() {
    let (port, _asked) = serve(|stream| {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc";
        stream.write_all(answer.as_bytes()).unwrap();
        let socket = socket2::SockRef::from(&*stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    let told = Rig::new().start_and_keep(port);
    assert!(matches!(told.0.next(), JobEvent::Head(_)));
    let (_, last) = told.0.rest();
    assert_eq!(failure(last).reached, Reached::Perhaps);
}

#[test]
fn silence_is_a_failure() {
    let (port, _asked) = serve(|stream| {
        // Until the other side gives up.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut rig = Rig::new();
    let told = rig.start(spec(HttpJob {
        idle: Duration::from_millis(50),
        ..job(port)
    }));
    let failure = failure(told.rest().1);
    assert!(
        failure.message.contains("said nothing for 0.05 s"),
        "{}",
        failure.message
    );
}

#[test]
fn nobody_there_is_a_failure_that_reached_nobody() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let told = Rig::new().start_and_keep(port);
    let failure = failure(told.0.rest().1);
    assert_eq!(failure.reached, Reached::No);
    assert!(
        failure.message.contains("connection refused"),
        "{}",
        failure.message
    );
}

#[test]
fn a_header_that_would_bring_another_one_is_never_sent() {
    let mut rig = Rig::new();
    let mut bad = job(1);
    bad.headers = vec![(
        "authorization",
        HeaderText::Secret(Secret::new("k\r\nx: hunter2")),
    )];
    let failure = failure(rig.start(spec(bad)).rest().1);
    assert_eq!(failure.reached, Reached::No);
    assert_eq!(failure.message, "the header authorization cannot be sent");
}

#[test]
fn a_stop_hangs_up_and_nothing_more_is_told() {
    let (port, asked) = serve(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nabc").unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
        stream.shutdown(Shutdown::Both).ok();
    });
    let mut rig = Rig::new();
    let told = rig.start(spec(job(port)));
    assert!(matches!(told.next(), JobEvent::Head(_)));
    assert_eq!(told.next(), JobEvent::Data("abc".into()));
    rig.jobs.stop(told.id);
    assert!(told.ends_silently());
    asked.join().unwrap();
    rig.jobs.stop(told.id);
}

#[test]
fn an_answer_may_come_before_a_large_request_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut start = [0; 64];
        stream.read_exact(&mut start).unwrap();
        let answer = "HTTP/1.1 413 Too large\r\ncontent-length: 2\r\n\r\nno";
        stream.write_all(answer.as_bytes()).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let mut rig = Rig::new();
    let told = rig.start(spec(HttpJob {
        body: Bytes::from(vec![b'x'; 1_000_000]),
        ..job(port)
    }));
    assert!(matches!(told.next(), JobEvent::Head(head) if head.status == 413));
    assert_eq!(told.rest().0, b"no");
    server.join().unwrap();
}

#[test]
fn certificates_are_judged() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Arc::new(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || {
        let mut asked = Vec::new();
        for _ in 0..2 {
            let (tcp, _) = listener.accept().unwrap();
            let session = ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut stream = StreamOwned::new(session, tcp);
            let mut first = [0];
            if stream.read(&mut first).is_err() {
                asked.push(String::new());
                continue;
            }
            asked.push(read_request(&mut stream));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        asked
    });
    let mut https = job(port);
    https.url = Endpoint::parse(&format!("https://localhost:{port}/x"), UrlPolicy::Strict).unwrap();

    let trusting = |roots: RootCertStore| {
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Rig::trusting(config)
    };
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let mut others = RootCertStore::empty();
    others.add(stranger.cert.der().clone()).unwrap();
    let mut rig = trusting(others);
    let failure = failure(rig.start(spec(https.clone())).rest().1);
    assert_eq!(failure.reached, Reached::No);
    assert!(
        failure.message.contains("no TLS with localhost"),
        "{}",
        failure.message
    );

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut rig = trusting(roots);
    let told = rig.start(spec(https));
    assert!(matches!(told.next(), JobEvent::Head(head) if head.status == 200));
    assert_eq!(told.rest().0, b"ok");
    let asked = serving.join().unwrap();
    assert_eq!(
        asked[0], "",
        "nothing is sent under a certificate that nobody vouches for"
    );
    assert!(asked[1].contains("authorization: Bearer k"));
}

impl Rig {
    /// Starts a plain job; the rig lives as long as its events.
    fn start_and_keep(mut self, port: u16) -> (crate::rig::Told, Self) {
        let told = self.start(spec(job(port)));
        (told, self)
    }
}
