//! Messages of people in chats, from the Bot API through the built-in agent and back, next to plain
//! calls that send as many; and the memory that many of them leave behind.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use clawgate_bot_api::{BotApi, User};

use crate::{
    Effort, Outcome,
    child::ServerProcess,
    servers::Kind,
    table::{self, Table, count, median, mib, percent, say},
};

/// The bot's token. Nothing but the stand-in knows it.
pub(crate) const TOKEN: &str = "424242:token-of-the-measurements";

/// Chats in each of which one message waits for its answer.
const CHATS: [usize; 3] = [1, 8, 50];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(effort: Effort) -> Outcome {
    let (rounds, duration, many) = match effort {
        Effort::Full => (9, Duration::from_millis(600), 100_000),
        Effort::Quick => (3, Duration::from_millis(100), 500),
    };
    say(format_args!(
        "\nchannel: `/echo` by a stand-in of the Bot API, durable; medians of {rounds} rounds for each \
         in turn\n  bare: `sendMessage` in a plain loop, a connection for each call"
    ))?;
    let mut table = Table::new(&["chats", "messages/s", "bare", "ours/bare"]);
    for chats in CHATS {
        let side = Side::start(chats)?;
        let mut rates: [Vec<f64>; 2] = Default::default();
        for _ in 0..rounds {
            let [ours, bare] = &mut rates;
            ours.push(rate(duration, || side.exchange())?);
            bare.push(rate(duration, || side.send_plainly())?);
        }
        let [ours, bare] = &rates;
        let (ours, bare) = (median(ours), median(bare));
        table.row(vec![
            chats.to_string(),
            count(ours),
            count(bare),
            percent(ours / bare),
        ]);
    }
    table.print()?;
    let side = Side::start(50)?;
    let mut table = Table::new(&["messages", "resident", "at most"]);
    let mut done = 0;
    for wanted in [50, many / 10, many / 2, many] {
        while done < wanted {
            done += side.exchange()?;
        }
        table.row(vec![
            done.to_string(),
            mib(side.server.rss_bytes()?),
            mib(side.server.largest_rss_bytes()?),
        ]);
    }
    table.print()
}

/// How many there were in a second, where `some` does some of them.
fn rate(duration: Duration, mut some: impl FnMut() -> Outcome<usize>) -> Outcome<f64> {
    let begin = Instant::now();
    let mut done = 0;
    while begin.elapsed() < duration {
        done += some()?;
    }
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}

/// A gateway, and the service that it talks to.
struct Side {
    server: ServerProcess,
    api: BotApi,
    people: Vec<User>,
    /// Removed with this.
    _folder: tempfile::TempDir,
}

impl Side {
    fn start(chats: usize) -> Outcome<Self> {
        let api = BotApi::start()?;
        api.add_bot(TOKEN, "measured_bot")?;
        let people = (1..=chats as i64)
            .map(|id| api.user(id, "Somebody"))
            .collect();
        let folder = tempfile::tempdir()?;
        let text = format!("{} {}", api.url(), table::text(folder.path())?);
        let server = ServerProcess::start(Kind::Channel, &text)?;
        let side = Self {
            server,
            api,
            people,
            _folder: folder,
        };
        // The first exchange includes the start of the channel.
        side.exchange()?;
        Ok(side)
    }

    /// A message in each chat, and its answer. Gives how many there were.
    fn exchange(&self) -> Outcome<usize> {
        let wanted = self.api.look(|state| state.sent_count()) + self.people.len() as u64;
        for person in &self.people {
            self.api.says(person, "/echo The quick brown fox.")?;
        }
        self.api.wait_for(PATIENCE, |state| {
            (state.sent_count() >= wanted).then_some(())
        })?;
        self.api.forget_history();
        Ok(self.people.len())
    }

    /// The same number of messages, sent by hand.
    fn send_plainly(&self) -> Outcome<usize> {
        let address = self.api.url().replace("http://", "");
        for person in &self.people {
            let body = format!(
                r#"{{"chat_id":{},"text":"The quick brown fox."}}"#,
                person.id
            );
            let mut stream = TcpStream::connect(&address)?;
            stream.set_nodelay(true)?;
            stream.write_all(
                format!(
                    "POST /bot{TOKEN}/sendMessage HTTP/1.1\r\nHost: {address}\r\nContent-Type: \
                     application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            if !answer.starts_with("HTTP/1.1 200") {
                return Err(answer.into());
            }
        }
        self.api.forget_history();
        Ok(self.people.len())
    }
}
