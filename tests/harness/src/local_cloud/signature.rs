//! Who signed an AWS request: the Signature Version 4 header is read, its key,
//! date, region and service are checked; the signature itself is not.

use axum::http::HeaderMap;
use jiff::{SignedDuration, Timestamp};

use super::answer::AwsError;
use super::credentials::Credentials;

/// How far the signer's clock may be off.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Checks that a request was signed for this region and service with a key
/// that is known and has not ended.
pub(super) fn check(
    headers: &HeaderMap,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Result<(), AwsError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authorization = header("authorization");
    let (Some(scope), Some(signature)) =
        (part(authorization, "Credential"), part(authorization, "Signature"))
    else {
        return Err(AwsError::new("MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let [access_key_id, day, scope_region, scope_service, "aws4_request"] =
        scope.split('/').collect::<Vec<_>>()[..]
    else {
        return Err(incomplete("Credential must have five parts"));
    };
    let unknown = || {
        AwsError::new("UnrecognizedClientException", "The security token included in the request is invalid.")
    };
    let key = credentials.get(access_key_id).ok_or_else(unknown)?;
    if key.session_token.as_deref().unwrap_or_default() != header("x-amz-security-token") {
        return Err(unknown());
    }
    if key.expires.is_some_and(|end| now >= end) {
        let message = "The security token included in the request is expired";
        return Err(AwsError::new("ExpiredTokenException", message));
    }
    let signed = header("x-amz-date");
    check_date(signed, day, now)?;
    if scope_region != region || scope_service != service {
        let wanted =
            format!("Credential should be scoped to {region}/{service}, not {scope_region}/{scope_service}.");
        return Err(AwsError::new("InvalidSignatureException", wanted));
    }
    if signature.len() != 64 || !signature.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(incomplete("Signature is not 64 hexadecimal digits"));
    }
    Ok(())
}

fn check_date(signed: &str, day: &str, now: Timestamp) -> Result<(), AwsError> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", signed)
        .ok()
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map(|time| time.timestamp())
        .ok_or_else(|| incomplete("X-Amz-Date is absent or malformed"))?;
    if !signed.starts_with(day) {
        return Err(incomplete("the date of the Credential is not that of X-Amz-Date"));
    }
    if time.duration_until(now).abs() > CLOCK_SKEW {
        return Err(AwsError::new(
            "InvalidSignatureException",
            format!("Signature expired: {signed}, now {now}"),
        ));
    }
    Ok(())
}

fn part<'a>(authorization: &'a str, name: &str) -> Option<&'a str> {
    let parts = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
    parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
}

fn incomplete(message: &str) -> AwsError {
    AwsError::new("IncompleteSignatureException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(change: impl Fn(&mut Credentials, &mut HeaderMap)) -> Result<(), &'static str> {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let mut credentials = Credentials::new(SignedDuration::from_hours(1), now);
        let key = credentials.for_instance(now);
        let mut headers = HeaderMap::new();
        let scope = format!("{}/20260301/eu-north-1/ecr/aws4_request", key.access_key_id);
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature={}", "0".repeat(64));
        headers.insert("authorization", authorization.parse().unwrap());
        headers.insert("x-amz-date", "20260301T120001Z".parse().unwrap());
        headers.insert("x-amz-security-token", key.session_token.unwrap().parse().unwrap());
        change(&mut credentials, &mut headers);
        check(&headers, &credentials, "eu-north-1", "ecr", now).map_err(|error| error.code)
    }

    fn replace(headers: &mut HeaderMap, name: &'static str, from: &str, to: &str) {
        let changed = headers[name].to_str().unwrap().replace(from, to);
        headers.insert(name, changed.parse().unwrap());
    }

    #[test]
    fn a_request_signed_with_the_roles_keys_passes() {
        assert_eq!(judge(|_, _| ()), Ok(()));
    }

    #[test]
    fn each_thing_that_is_wrong_has_its_own_code() {
        let authorization = "authorization";
        assert_eq!(
            judge(|_, headers| drop(headers.remove(authorization))),
            Err("MissingAuthenticationTokenException")
        );
        assert_eq!(
            judge(|_, headers| replace(headers, authorization, "ASIA", "AKIA")),
            Err("UnrecognizedClientException")
        );
        assert_eq!(
            judge(|_, headers| drop(headers.remove("x-amz-security-token"))),
            Err("UnrecognizedClientException")
        );
        for (from, to) in [("eu-north-1", "us-east-1"), ("/ecr/", "/logs/")] {
            let judged = judge(|_, headers| replace(headers, authorization, from, to));
            assert_eq!(judged, Err("InvalidSignatureException"), "{from} -> {to}");
        }
        assert_eq!(
            judge(|_, headers| replace(headers, "x-amz-date", "T1200", "T1206")),
            Err("InvalidSignatureException")
        );
        assert_eq!(
            judge(|credentials, _| credentials.expire("2026-03-01T12:00:00Z".parse().unwrap())),
            Err("ExpiredTokenException")
        );
    }
}
