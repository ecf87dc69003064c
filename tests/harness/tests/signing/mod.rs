//! Calls to the local cloud as an SDK makes them, with a signature of the right
//! form (the cloud checks who signed and for what, not the signature itself).

use harness::http::{Answer, HttpClient};
use harness::local_cloud::LocalCloud;
use serde_json::Value;

/// Calls `TARGET_PREFIX.Operation` signed for `service`.
pub(crate) async fn call(cloud: &LocalCloud, service: &str, target: &str, input: &Value) -> Answer {
    let now = jiff::Timestamp::now();
    let key = {
        let mut state = cloud.state();
        state.credentials.rotate(now)
    };
    let scope = format!("{}/{}/eu-north-1/{service}/aws4_request", key.access_key_id, now.strftime("%Y%m%d"));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={}", "0".repeat(64));
    let headers = [
        ("x-amz-target", target),
        ("content-type", "application/x-amz-json-1.1"),
        ("authorization", &authorization),
        ("x-amz-date", &now.strftime("%Y%m%dT%H%M%SZ").to_string()),
        ("x-amz-security-token", key.session_token.as_deref().unwrap_or_default()),
    ];
    HttpClient::default().send("POST", &cloud.aws_url(), &headers, input.to_string()).await.unwrap()
}
