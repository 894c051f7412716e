//! A place where a program of a test waits until the test lets it go on: so a test knows that the
//! program has come so far, and that it goes no further by itself.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::deadline::PATIENCE;
use crate::failure::{Failure, TestResult};

/// A gate on a loopback port of its own.
pub struct Gate {
    port: u16,
    waiting: Receiver<Waiting>,
}

/// A program that waits. It goes on when this is dropped.
pub struct Waiting {
    said: String,
    _stream: TcpStream,
}

impl Gate {
    /// Builds a gate.
    ///
    /// # Errors
    ///
    /// When there is no port left.
    pub fn new() -> TestResult<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (sender, waiting) = mpsc::channel();
        // Ends with the test, which is a process of its own.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut said = String::new();
                if BufReader::new(&stream).read_line(&mut said).is_err() {
                    continue;
                }
                let said = said.trim_end().to_owned();
                let _stream = stream;
                if sender.send(Waiting { said, _stream }).is_err() {
                    return;
                }
            }
        });
        Ok(Self { port, waiting })
    }

    /// Its port, by which programs find it.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Waits until a program has come.
    ///
    /// # Errors
    ///
    /// When none comes in time.
    pub fn wait(&self) -> TestResult<Waiting> {
        self.waiting
            .recv_timeout(PATIENCE)
            .map_err(|_| Failure::new("nobody came to the gate"))
    }
}

impl Waiting {
    /// What the program said when it came.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Lets it go on.
    pub fn go_on(self) {}
}

/// What the program does: says something, and waits until it may go on.
///
/// # Errors
///
/// When there is no gate.
pub fn wait_at(port: u16, say: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    writeln!(stream, "{say}")?;
    // However the other side ends, it is over.
    let _ = io::copy(&mut stream, &mut io::sink());
    Ok(())
}
