//! Which account and region a host name of ECR belongs to. Pure.

use crate::cloud::ecr::EcrRegistry;

/// `ACCOUNT.dkr.ecr[-fips].REGION.amazonaws.com[.cn]`, or the dual-stack form `ACCOUNT.dkr-ecr[-fips].REGION.on.aws`;
/// `None` for any other host.
pub(super) fn ecr_registry(host: &str) -> Option<EcrRegistry> {
    let (account, rest) = host.split_once('.')?;
    let of_aws = |rest: &str, fips: bool| {
        let region = rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn"));
        registry(account, region?, fips)
    };
    let of_dual_stack = |rest: &str, fips: bool| registry(account, rest.strip_suffix(".on.aws")?, fips);
    if let Some(rest) = rest.strip_prefix("dkr.ecr.") {
        return of_aws(rest, false);
    }
    if let Some(rest) = rest.strip_prefix("dkr.ecr-fips.") {
        return of_aws(rest, true);
    }
    if let Some(rest) = rest.strip_prefix("dkr-ecr.") {
        return of_dual_stack(rest, false);
    }
    of_dual_stack(rest.strip_prefix("dkr-ecr-fips.")?, true)
}

fn registry(account: &str, region: &str, fips: bool) -> Option<EcrRegistry> {
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_region = !region.is_empty() && region.bytes().all(letters);
    (is_account && is_region).then(|| EcrRegistry {
        account: account.to_owned(),
        region: region.to_owned(),
        fips,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_of_ecr_tell_account_and_region() {
        for (host, region, fips) in [
            ("123456789012.dkr.ecr.eu-north-1.amazonaws.com", "eu-north-1", false),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1", true),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", false),
            ("123456789012.dkr-ecr.eu-north-1.on.aws", "eu-north-1", false),
            ("123456789012.dkr-ecr-fips.us-east-1.on.aws", "us-east-1", true),
        ] {
            let wanted = EcrRegistry { account: "123456789012".into(), region: region.into(), fips };
            assert_eq!(ecr_registry(host), Some(wanted), "{host}");
        }
    }

    #[test]
    fn other_hosts_do_not() {
        for host in [
            "docker.io",
            "localhost:5000",
            "public.ecr.aws",
            "12345678901.dkr.ecr.eu-north-1.amazonaws.com",
            "12345678901x.dkr.ecr.eu-north-1.amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.eu-north-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.evil.example.amazonaws.com",
            "123456789012.dkr.ecr.eu-north-1.amazonaws.com:443",
            "",
        ] {
            assert_eq!(ecr_registry(host), None, "{host}");
        }
    }
}
