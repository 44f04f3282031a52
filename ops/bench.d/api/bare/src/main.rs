#![doc = include_str!("../README.md")]

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue},
    serve::ListenerExt,
};
use clap::Parser;
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// Address and port to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// File with the answer, as JSON: `headers`, pairs of name and value, and `body`, a text
    #[arg(long)]
    answer: PathBuf,
}

#[derive(Deserialize)]
struct Answer {
    headers: Vec<(String, String)>,
    body: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let file = fs::read(&args.answer).with_context(|| format!("cannot read {}", args.answer.display()))?;
    let answer: Answer = serde_json::from_slice(&file)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        headers.append(name.parse::<HeaderName>()?, value.parse::<HeaderValue>()?);
    }
    let body = Bytes::from(answer.body);
    let app = Router::new().fallback(move || {
        let answer = (headers.clone(), body.clone());
        async move { answer }
    });
    let listener = TcpListener::bind(args.listen).await?;
    // As the API does. A connection that refuses the option answers all the same.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await?;
    Ok(())
}
