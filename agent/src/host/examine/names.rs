//! Whether an endpoint is found and reached: its name, a connection, and the time that it says (`Date`, RFC 9110).

use crate::examined::Endpoint;
use jiff::Timestamp;
use node::cloud::install_crypto_provider;
use reqwest::header::DATE;
use std::time::{Duration, Instant};

/// A name that takes longer is as good as not there.
const NAME_DEADLINE: Duration = Duration::from_secs(4);
const CONNECT_DEADLINE: Duration = Duration::from_secs(4);
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Looks `url` up, connects, and asks it for nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "one of the host modules: it measures, and compares two clocks"
)]
pub async fn endpoint(service: &str, url: &str) -> Endpoint {
    let (host, port) = host_and_port(url).unwrap_or_else(|| (url.to_owned(), 443));
    let place = format!("{host}:{port}");
    let mut found = Endpoint {
        service: service.to_owned(),
        host: if port == 443 { host.clone() } else { place.clone() },
        addresses: Err("it is no URL".to_owned()),
        connected: None,
        ahead: None,
    };
    let looked_up = tokio::time::timeout(NAME_DEADLINE, tokio::net::lookup_host(&place)).await;
    let addresses: Vec<_> = match looked_up {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Endpoint { addresses: Err(error.to_string()), ..found },
        Err(_) => {
            return Endpoint {
                addresses: Err(format!("no answer within {} s", NAME_DEADLINE.as_secs())),
                ..found
            };
        }
    };
    found.addresses = Ok(addresses.len());
    let began = Instant::now();
    let connected =
        tokio::time::timeout(CONNECT_DEADLINE, tokio::net::TcpStream::connect(addresses.as_slice()));
    found.connected = Some(match connected.await {
        Ok(Ok(_)) => Ok(began.elapsed()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CONNECT_DEADLINE.as_secs())),
    });
    if let Some(Ok(_)) = found.connected {
        found.ahead = date(url).await.map(|theirs| theirs.duration_since(Timestamp::now()));
    }
    found
}

fn host_and_port(url: &str) -> Option<(String, u16)> {
    let url = reqwest::Url::parse(url).ok()?;
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// Any answer will do: it says when it was given.
async fn date(url: &str) -> Option<Timestamp> {
    install_crypto_provider();
    let client =
        reqwest::Client::builder().timeout(ANSWER_DEADLINE).redirect(reqwest::redirect::Policy::none());
    let answer = client.build().ok()?.get(url).send().await.ok()?;
    parsed(answer.headers().get(DATE)?.to_str().ok()?)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parsed(date: &str) -> Option<Timestamp> {
    let zoned = jiff::fmt::rfc2822::DateTimeParser::new().parse_zoned(date.replace("GMT", "+0000")).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        let parsed = parsed("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(parsed.to_string(), "1994-11-06T08:49:37Z");
        assert_eq!(super::parsed("yesterday"), None);
    }

    #[test]
    fn ports_are_those_of_the_scheme() {
        assert_eq!(
            host_and_port("https://logs.eu-north-1.amazonaws.com"),
            Some(("logs.eu-north-1.amazonaws.com".into(), 443))
        );
        assert_eq!(host_and_port("http://10.0.0.1:4566/x"), Some(("10.0.0.1".into(), 4566)));
        assert_eq!(host_and_port("nonsense"), None);
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_in_words() {
        let nowhere = endpoint("logs", "http://no-such-name.invalid").await;
        assert!(nowhere.addresses.is_err(), "{nowhere:?}");
        // A port that nobody has: bound, and let go.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let refused = endpoint("logs", &format!("http://127.0.0.1:{port}")).await;
        assert!(matches!(refused.connected, Some(Err(_))), "{refused:?}");
        assert_eq!((refused.addresses, refused.ahead), (Ok(1), None));
    }
}
