"""What is said of each failure, by the code of a service's answer or by the error of botocore."""

from __future__ import annotations

from collections.abc import Mapping

from drystone.errors import ArtifactStoreError, StoreAccessError, StoreUnreachableError

Message = tuple[type[ArtifactStoreError], str]

DENIED: Message = (
    StoreAccessError,
    "access denied{where}: the credentials are known, and may not do this. Look at `key` or `profile`, or have the "
    "policy of the bucket changed; docs/how-to/s3-access.md lists what each role needs.",
)
KEY: Message = (
    StoreAccessError,
    "the access key is not known{where}. Look at `key` and `endpoint_url`, or at the credentials that AWS's tools "
    "find: in the environment, or in ~/.aws.",
)
EXPIRED: Message = (
    StoreAccessError,
    "the session of these credentials is over, or its token is not theirs. Get new ones, as with `aws sso login`, and "
    "look at `token`.",
)
REGION: Message = (
    ArtifactStoreError,
    "the bucket is in another region than {region}. Set `region` to the one it is in. {message}",
)
NO_BUCKET: Message = (
    ArtifactStoreError,
    "there is no bucket {bucket}{where}. Look at the name and at `endpoint_url`, or make it: aws s3 mb s3://{bucket}",
)
KMS: Message = (ArtifactStoreError, "it cannot be encrypted with this key. Look at `kms_key`. {message}")
SETTING: Message = (
    ArtifactStoreError,
    "the service does not take what it is asked for. Look at `server_side_encryption`, `storage_class` and `options`. "
    "{message}",
)
BUSY: Message = (
    StoreUnreachableError,
    "the service{where} is overloaded or broken: it answers {status}. Try again later.",
)
UNKNOWN: Message = (
    ArtifactStoreError,
    "{endpoint} answers {status}, which is not what S3 answers: {message}. Look at `endpoint_url`.",
)
SILENCE: Message = (
    StoreUnreachableError,
    "{endpoint} does not answer. Look at `endpoint_url`, and whether the service and the network are up. {reason}",
)
NO_CREDENTIALS: Message = (
    StoreAccessError,
    "there are no credentials. Give `key` and `secret`, or `profile`, or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or log in with the aws command.",
)
CREDENTIALS: Message = (StoreAccessError, "credentials cannot be had. Look at `profile` and ~/.aws. {message}")

BY_CODE: Mapping[str, Message] = {
    "NoSuchBucket": NO_BUCKET,
    "InvalidBucketName": NO_BUCKET,
    "AccessDenied": DENIED,
    "AllAccessDisabled": DENIED,
    "AccountProblem": DENIED,
    "403": DENIED,
    "InvalidAccessKeyId": KEY,
    "SignatureDoesNotMatch": (
        StoreAccessError,
        "the secret does not belong to the access key. Look at `secret`; if it is right, something between here and "
        "the service changes requests, or `endpoint_url` is not what the service calls itself.",
    ),
    "RequestTimeTooSkewed": (
        StoreAccessError,
        "the clock of this machine is too far from the service's. Set it right, as with NTP.",
    ),
    "ExpiredToken": EXPIRED,
    "InvalidToken": EXPIRED,
    "TokenRefreshRequired": EXPIRED,
    "PermanentRedirect": REGION,
    "TemporaryRedirect": REGION,
    "AuthorizationHeaderMalformed": REGION,
    "IllegalLocationConstraintException": REGION,
    "301": REGION,
    "KMS.NotFoundException": KMS,
    "KMS.DisabledException": KMS,
    "KMS.KMSInvalidStateException": KMS,
    "InvalidEncryptionAlgorithmError": SETTING,
    "InvalidStorageClass": SETTING,
    "InvalidArgument": SETTING,
    "InvalidRequest": SETTING,
    "NotImplemented": SETTING,
    "SlowDown": BUSY,
    "InternalError": BUSY,
    "ServiceUnavailable": BUSY,
    "500": BUSY,
    "502": BUSY,
    "503": BUSY,
    "504": BUSY,
}
"""The codes that S3 documents, as far as there is something to do about them."""

BY_ERROR: Mapping[str, Message] = {
    "NoCredentialsError": NO_CREDENTIALS,
    "PartialCredentialsError": NO_CREDENTIALS,
    "NoAuthTokenError": NO_CREDENTIALS,
    "CredentialRetrievalError": CREDENTIALS,
    "TokenRetrievalError": CREDENTIALS,
    "SSOError": EXPIRED,
    "LoginError": EXPIRED,
    "ConfigParseError": CREDENTIALS,
    "InvalidConfigError": CREDENTIALS,
    "ProfileNotFound": (
        StoreAccessError,
        "there is no profile {profile!r} in ~/.aws. Look at `profile`; `aws configure list-profiles` lists all.",
    ),
    "SSLError": (
        StoreUnreachableError,
        "no encrypted connection to {endpoint} can be made. Look at `endpoint_url`: does the service speak https? Is "
        "its certificate one that this machine trusts (AWS_CA_BUNDLE)? {reason}",
    ),
    "InvalidRegionError": (
        ArtifactStoreError,
        "{region!r} is no region. Look at `region`, which is like eu-central-1.",
    ),
    "NoRegionError": (ArtifactStoreError, "AWS has to be told which region. Set `region`, or AWS_DEFAULT_REGION."),
    "ParamValidationError": (ArtifactStoreError, "the request is not a valid one. {message}"),
}
"""The errors of botocore, by name, with those derived from them."""
