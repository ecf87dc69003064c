//! The metadata service keeps the rules of the real one.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]

use std::time::Duration;

use harness::http::{Answer, HttpClient};
use harness::local_cloud::{Config, Initial, LocalCloud};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

struct Client {
    cloud: LocalCloud,
    http: HttpClient,
}

impl Client {
    async fn new(initial: Initial) -> Self {
        let cloud = LocalCloud::start(Config { initial, ..Config::default() }).await.unwrap();
        Self { cloud, http: HttpClient::default() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = format!("{}{path}", self.cloud.imds_url());
        self.http.send(method, &url, headers, String::new()).await.unwrap()
    }

    async fn token(&self, seconds: &str) -> Answer {
        self.ask("PUT", "/latest/api/token", &[(TTL, seconds)]).await
    }

    async fn get(&self, path: &str) -> Answer {
        let token = self.token("60").await.text();
        self.ask("GET", path, &[(TOKEN, &token)]).await
    }
}

#[tokio::test]
async fn a_token_is_given_for_one_second_to_six_hours() {
    let client = Client::new(Initial::default()).await;
    for seconds in ["1", "21600"] {
        let answer = client.token(seconds).await;
        assert_eq!((answer.status.as_u16(), answer.header(TTL)), (200, seconds));
        assert!(answer.body.len() > 40, "{}", answer.text());
    }
    for seconds in ["0", "21601", "-1", "soon", ""] {
        assert_eq!(client.token(seconds).await.status, 400, "{seconds:?}");
    }
    assert_eq!(client.ask("PUT", "/latest/api/token", &[]).await.status, 400);
}

#[tokio::test]
async fn a_token_is_refused_through_a_proxy_and_at_a_dated_path() {
    let client = Client::new(Initial::default()).await;
    let proxied = [(TTL, "60"), ("x-forwarded-for", "10.0.0.1")];
    assert_eq!(client.ask("PUT", "/latest/api/token", &proxied).await.status, 403);
    assert_eq!(client.ask("PUT", "/2021-07-15/api/token", &[(TTL, "60")]).await.status, 403);
}

#[tokio::test]
async fn without_a_valid_token_nothing_is_told() {
    let client = Client::new(Initial::default()).await;
    let path = "/latest/meta-data/instance-id";
    assert_eq!(client.ask("GET", path, &[]).await.status, 401);
    assert_eq!(client.ask("GET", path, &[(TOKEN, "guess")]).await.status, 401);
    let token = client.token("60").await.text();
    assert_eq!(client.ask("GET", path, &[(TOKEN, &token)]).await.text(), "i-0123456789abcdef0");
    client.cloud.state().expire_imds_tokens();
    assert_eq!(client.ask("GET", path, &[(TOKEN, &token)]).await.status, 401);
}

#[tokio::test]
async fn a_token_ends_with_its_lifetime() {
    let client = Client::new(Initial::default()).await;
    let token = client.token("1").await.text();
    harness::wait::wait_for_async("the token to end", Duration::from_secs(10), || async {
        let status = client.ask("GET", "/latest/meta-data/mac", &[(TOKEN, &token)]).await.status;
        if status == 401 { Ok(()) } else { Err(status.to_string()) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn directories_are_listed_and_dated_versions_are_known() {
    let client = Client::new(Initial::default()).await;
    assert_eq!(client.get("/latest/").await.text(), "dynamic\nmeta-data");
    let listing = client.get("/latest/meta-data/").await.text();
    for name in ["ami-id", "block-device-mapping/", "iam/", "instance-id", "placement/", "tags/"] {
        assert!(listing.lines().any(|line| line == name), "{name} in {listing}");
    }
    assert_eq!(client.get("/2021-07-15/meta-data/placement/").await.text(), "availability-zone\nregion");
    assert_eq!(client.get("/2021-07-15/meta-data/placement").await.text(), "availability-zone\nregion");
    assert_eq!(client.get("/latest/meta-data/block-device-mapping/ebs1").await.text(), "sdf");
    assert_eq!(client.get("/2021-07-15/meta-data/tags/instance/").await.text(), "Name");
    for absent in
        ["/latest/meta-data/none", "/latest/user-data", "/newest/meta-data/", "/2021-7-15/meta-data/"]
    {
        assert_eq!(client.get(absent).await.status, 404, "{absent}");
    }
    assert_eq!(client.get("/2019-10-01/meta-data/tags/instance/Name").await.status, 404);
}

#[tokio::test]
async fn the_role_has_credentials_that_are_renewed_before_they_end() {
    let initial = Initial { credentials_lifetime_seconds: 3600, ..Initial::default() };
    let client = Client::new(initial).await;
    let folder = "/latest/meta-data/iam/security-credentials/";
    assert_eq!(client.get(folder).await.text(), "local-node-role");
    let path = format!("{folder}local-node-role");
    let first = client.get(&path).await.json();
    assert_eq!(first["Code"], "Success");
    assert!(first["Expiration"].as_str().unwrap().ends_with('Z'), "{first}");
    assert_eq!(client.get(&path).await.json()["AccessKeyId"], first["AccessKeyId"]);
    let now: jiff::Timestamp = first["LastUpdated"].as_str().unwrap().parse().unwrap();
    client.cloud.state().credentials.expire(now);
    assert_ne!(client.get(&path).await.json()["AccessKeyId"], first["AccessKeyId"]);
}

#[tokio::test]
async fn the_identity_document_names_account_and_region() {
    let client = Client::new(Initial::default()).await;
    let document = client.get("/latest/dynamic/instance-identity/document").await.json();
    assert_eq!((&document["accountId"], &document["region"]), (&"123456789012".into(), &"eu-north-1".into()));
}

#[tokio::test]
async fn tags_can_be_disabled_and_metadata_be_added() {
    let client = Client::new(Initial { tags: None, role: None, ..Initial::default() }).await;
    assert_eq!(client.get("/latest/meta-data/tags/").await.status, 404);
    assert_eq!(client.get("/latest/meta-data/iam/security-credentials/").await.status, 404);
    let notice = "{\"action\":\"terminate\"}".to_owned();
    client.cloud.state().metadata.insert("spot/instance-action".into(), notice.clone());
    assert_eq!(client.get("/latest/meta-data/spot/instance-action").await.text(), notice);
}
