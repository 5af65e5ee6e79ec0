//! `Caller`: a client of the service at an address of its own, since all of 127.0.0.0/8 is this machine.
//!
//! Bare HTTP/1.1 over a socket, so that tests can also do what no honest client does: half a request, or none.
//! Start reading at [`Caller::ask`].

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// Longer than any limit of the server's: whoever waits longer waits for nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where somebody calls from, and whom.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    from: Ipv4Addr,
    server: SocketAddr,
}

/// What the service said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

impl Caller {
    /// `http` is the server's URL; the caller is at 127.0.`network`.`host`.
    pub fn at(network: u8, host: u8, http: &str) -> Caller {
        let server = http.trim_start_matches("http://").parse().expect("an address and a port");
        Caller { from: Ipv4Addr::new(127, 0, network, host), server }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the server does not take it.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.from, 0)).into())?;
        socket.connect_timeout(&self.server.into(), PATIENCE)?;
        let stream: TcpStream = socket.into();
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: &Request) -> Answer {
        self.try_ask(request).unwrap_or_else(|error| panic!("{} got no answer: {error}", self.from))
    }

    fn try_ask(&self, request: &Request) -> io::Result<Answer> {
        let mut stream = self.connect()?;
        stream.write_all(&request.bytes())?;
        read_answer(&mut stream)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&Request::get(path))
    }

    /// Asks for a seat.
    pub fn join(&self, group: &str) -> Answer {
        self.ask(&Request::join(group))
    }

    /// Asks again and again until the answer has this status; panics after `limit`.
    pub fn join_until(&self, group: &str, status: u16, limit: Duration) -> Answer {
        let deadline = Instant::now() + limit;
        loop {
            let answer = self.join(group);
            if answer.status == status {
                return answer;
            }
            assert!(Instant::now() < deadline, "after {limit:?}: {answer:?}");
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn get(path: &str) -> Request {
        Request { method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn post(path: &str, body: &Value) -> Request {
        let headers = vec![("content-type", "application/json".into())];
        Request { method: "POST", path: path.into(), headers, body: body.to_string().into() }
    }

    /// A seat in a match of two with whoever asks for the same group.
    pub fn join(group: &str) -> Request {
        let body =
            serde_json::json!({ "name": "Ada", "mode": "last_ship", "rules": "standard", "seats": 2, "group": group });
        Request::post("/v1/quickplay", &body)
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Request {
        self.headers.push((name, value.into()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let Request { method, path, headers, body } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        [head.as_bytes(), b"\r\n", body].concat()
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and code of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.json::<astro_shared::api::Problem>().code)
    }

    pub fn message(&self) -> String {
        self.json::<astro_shared::api::Problem>().detail
    }

    /// Whole seconds after which to ask again.
    pub fn retry_after_s(&self) -> u64 {
        self.header("retry-after").and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no time in {self:?}"))
    }
}

/// The next answer on a connection.
fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(answer) = whole_answer(&bytes) {
            return Ok(answer);
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

fn whole_answer(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { status, head, body: Vec::new() };
    let length: usize = answer.header("content-length").map_or(Some(0), |value| value.parse().ok())?;
    answer.body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some(answer)
}
