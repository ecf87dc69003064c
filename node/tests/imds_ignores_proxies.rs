//! The metadata client goes past every proxy. Proxy variables are read from the process's environment, so the test runs
//! itself once more with them set.

#![expect(clippy::disallowed_methods, reason = "the environment under test is the process's own")]

use node::environment::Environment;
use node::imds::Client;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing listens there: a client that used it would fail.
const TRAP: &str = "http://127.0.0.1:1";

/// Answers every request with a token, which serves as value too.
async fn metadata_service() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            respond(connection).await?;
        }
        io::Result::Ok(())
    });
    Ok(endpoint)
}

async fn respond(mut connection: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\ni-1").await
}

#[tokio::test]
async fn proxy_variables_are_ignored() {
    if std::env::var("http_proxy").is_ok_and(|proxy| proxy == TRAP) {
        let endpoint = metadata_service().await.unwrap();
        let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), endpoint)];
        let environment: Environment = variables.into_iter().collect();
        let answer = Client::new(&environment).get("meta-data/instance-id").await;
        assert_eq!(answer.unwrap().as_deref(), Some("i-1"));
        return;
    }
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["proxy_variables_are_ignored", "--exact", "--nocapture"])
        .envs(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].map(|name| (name, TRAP)))
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}
