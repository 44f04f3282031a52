//! Mail server on loopback: just enough of SMTP (RFC 5321) to take mails, to refuse some, and to keep the rest.
//!
//! The recipient decides: `busy@…` gets 451, `gone@…` 550, every other mail is taken and kept, after its
//! command `RCPT`. `AUTH` is always refused.

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::soon;

pub(crate) struct SmtpSink {
    pub(crate) port: u16,
    mails: mpsc::UnboundedReceiver<String>,
}

impl SmtpSink {
    pub(crate) async fn start() -> Self {
        Self::offering("").await
    }

    /// Offers extensions: lines of an answer to EHLO.
    pub(crate) async fn offering(extensions: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (sender, mails) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(session(stream, sender.clone(), extensions));
            }
        });
        Self { port, mails }
    }

    /// The next mail, with headers and body as sent.
    pub(crate) async fn next(&mut self) -> String {
        soon("a mail", self.mails.recv()).await.expect("the sink runs")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mails.is_empty()
    }
}

async fn session(
    stream: TcpStream,
    mails: mpsc::UnboundedSender<String>,
    extensions: &str,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 sink\r\n").await?;
    let (mut line, mut recipient) = (String::new(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_ascii_uppercase();
        let answer: &[u8] = match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => {
                stream.write_all(format!("250-sink\r\n{extensions}").as_bytes()).await?;
                b"250 AUTH PLAIN LOGIN\r\n"
            }
            "AUTH" => b"535 5.7.8 no\r\n",
            "RCPT" if command.contains("<BUSY@") => b"451 4.2.1 later, <busy@customer.example>\r\n",
            "RCPT" if command.contains("<GONE@") => b"550 5.1.1 no such user <gone@customer.example>\r\n",
            "RCPT" => {
                recipient.clone_from(&line);
                b"250 ok\r\n"
            }
            "MAIL" | "RSET" | "NOOP" => b"250 ok\r\n",
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                drop(mails.send(recipient.clone() + &data(&mut stream).await?));
                b"250 taken\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => b"500 what\r\n",
        };
        stream.write_all(answer).await?;
    }
}

async fn data(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut mail = String::new();
    loop {
        let start = mail.len();
        if stream.read_line(&mut mail).await? == 0 || &mail[start..] == ".\r\n" {
            mail.truncate(start);
            return Ok(mail);
        }
    }
}
