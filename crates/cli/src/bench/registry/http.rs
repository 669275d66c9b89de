//! As much of HTTP/1.1 as the registry's clients need: one connection that is
//! kept, requests one after the other, answers with a length.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

pub struct Connection {
    from: IpAddr,
    to: SocketAddr,
    token: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    pub fn new(from: IpAddr, to: SocketAddr, token: &str) -> Self {
        Self {
            from,
            to,
            token: token.to_owned(),
            stream: None,
        }
    }

    async fn stream(&mut self) -> io::Result<&mut BufReader<TcpStream>> {
        if self.stream.is_none() {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(self.from, 0))?;
            let stream = socket.connect(self.to).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        self.stream
            .as_mut()
            .ok_or(io::ErrorKind::NotConnected.into())
    }

    /// The status of the answer, which is read whole.
    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<u16> {
        let head = self.head(method, path, body.len());
        let stream = self.stream().await?;
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        let (status, length) = answer(stream).await?;
        let mut rest = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
        stream.read_exact(&mut rest).await?;
        Ok(status)
    }

    /// Begins to read a stream of events.
    pub async fn listen(&mut self, path: &str) -> io::Result<()> {
        let head = self.head("GET", path, 0);
        let stream = self.stream().await?;
        stream.write_all(head.as_bytes()).await?;
        match answer(stream).await? {
            (200, _) => Ok(()),
            (status, _) => Err(io::Error::other(format!("events: status {status}"))),
        }
    }

    /// Waits for one, and takes those that came with it.
    pub async fn event(&mut self) -> io::Result<()> {
        let stream = self.stream().await?;
        let there = stream.fill_buf().await?.len();
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.consume(there);
        Ok(())
    }

    fn head(&self, method: &str, path: &str, length: usize) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\nContent-Length: {length}\r\n\r\n",
            self.token
        )
    }
}

async fn answer(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, Option<usize>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let mut length = None;
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            return Ok((status, length));
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok();
        }
    }
}
