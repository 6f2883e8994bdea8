"""The section ``tls_server_config`` of a web configuration file, and the TLS context that it describes."""

import contextlib
import dataclasses
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

from dnsvigil.config.yaml_file import ConfigError, Invalid

# Go's names, which the file uses, and OpenSSL's. The TLS 1.3 suites have none: they are always offered.
CIPHER_SUITES: Mapping[str, str | None] = {
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}

_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {"VerifyClientCertIfGiven": ssl.CERT_OPTIONAL, "RequireAndVerifyClientCert": ssl.CERT_REQUIRED}


class _CipherSuite(str):
    @classmethod
    def parse(cls, text: str) -> Self:
        if text not in CIPHER_SUITES:
            raise ValueError(f"expected one of {', '.join(CIPHER_SUITES)}")
        return cls(text)


@dataclasses.dataclass
class TlsSection:
    """The section as it is in the file; what Python's ``ssl`` cannot do is refused."""

    cert: str = ""
    cert_file: str = ""
    key: str = ""
    key_file: str = ""
    client_auth_type: Literal[
        "NoClientCert",
        "RequestClientCert",
        "RequireClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "RequireAndVerifyClientCert",
    ] = "NoClientCert"
    client_ca: str = ""
    client_ca_file: str = ""
    client_allowed_sans: list[str] | None = None
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"
    cipher_suites: list[_CipherSuite] | None = None
    prefer_server_cipher_suites: bool = True
    curve_preferences: list[Literal["CurveP256", "CurveP384", "CurveP521", "X25519"]] | None = None

    def __post_init__(self) -> None:
        for name in ("cert", "key", "client_ca"):
            if getattr(self, name) and getattr(self, f"{name}_file"):
                raise Invalid(name, f"given together with {name}_file; keep one of them")
        for name in ("cert", "key"):
            if not (getattr(self, name) or getattr(self, f"{name}_file")):
                raise Invalid(f"{name}_file", f"missing; TLS needs {name}_file or {name}")
        self._check_client_authentication()
        if self.min_version > self.max_version:
            raise Invalid("min_version", f"{self.min_version} is above max_version {self.max_version}")
        if self.cipher_suites and self.max_version == "TLS12" and not self.openssl_ciphers:
            raise Invalid("cipher_suites", "names only suites of TLS 1.3, but max_version is TLS12")
        if self.curve_preferences and len(self.curve_preferences) > 1:
            raise Invalid("curve_preferences", "Python's ssl supports only one curve; name one, or leave the key out")

    def _check_client_authentication(self) -> None:
        kind = self.client_auth_type
        authority = "client_ca_file" if self.client_ca_file else "client_ca"
        if kind != "NoClientCert" and kind not in _VERIFY:
            raise Invalid(
                "client_auth_type",
                f"{kind} accepts certificates without verifying them, which Python's ssl cannot do; "
                "use RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert",
            )
        if kind in _VERIFY and not getattr(self, authority):
            raise Invalid("client_auth_type", f"{kind} needs client_ca_file or client_ca")
        if kind not in _VERIFY and getattr(self, authority):
            raise Invalid(authority, f"has no effect with client_auth_type {kind}; use RequireAndVerifyClientCert")
        if self.client_allowed_sans is not None and kind != "RequireAndVerifyClientCert":
            raise Invalid("client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")
        if self.client_allowed_sans == []:
            raise Invalid("client_allowed_sans", "an empty list would reject every client")

    @property
    def openssl_ciphers(self) -> list[str]:
        """The TLS 1.2 suites of ``cipher_suites``, in OpenSSL's names."""
        return [name for suite in self.cipher_suites or () if (name := CIPHER_SUITES[suite])]


class TlsContexts:
    """Makes the TLS context of the section of the web configuration file ``path``."""

    def __init__(self, path: Path, read: Callable[[Path], bytes]) -> None:
        """``read`` returns what a file holds. Raises ``OSError``."""
        self._path = path
        self._read_file = read

    def make(self, tls: TlsSection) -> ssl.SSLContext:
        """Load the certificates and the key. Raises :class:`ConfigError`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if not tls.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_alpn_protocols(["http/1.1"])
        context.minimum_version = _VERSIONS[tls.min_version]
        context.maximum_version = _VERSIONS[tls.max_version]
        try:
            if tls.openssl_ciphers:
                context.set_ciphers(":".join(tls.openssl_ciphers))
            elif tls.cipher_suites:  # none for TLS 1.2
                context.minimum_version = ssl.TLSVersion.TLSv1_3
            for curve in tls.curve_preferences or ():
                context.set_ecdh_curve(_CURVES[curve])
        except (ssl.SSLError, ValueError) as error:
            message = f"{ssl.OPENSSL_VERSION} supports none of the cipher suites, or not the curve: {error}"
            raise ConfigError(self._path, None, "tls_server_config", message) from error
        self._load_certificate(context, tls)
        if tls.client_auth_type in _VERIFY:
            self._load_authorities(context, tls)
            context.verify_mode = _VERIFY[tls.client_auth_type]
        return context

    def _load_certificate(self, context: ssl.SSLContext, tls: TlsSection) -> None:
        certificate = self._read("cert", tls.cert, tls.cert_file, "CERTIFICATE")
        key = self._read("key", tls.key, tls.key_file, "PRIVATE KEY")

        def no_password() -> str:  # without this, OpenSSL would ask on the terminal
            raise self._wrong("key", tls.key_file, "is encrypted; a key without a passphrase is needed")

        with _in_memory(certificate) as certificate_path, _in_memory(key) as key_path:
            try:
                context.load_cert_chain(certificate_path, key_path, no_password)
            except ssl.SSLError as error:
                if error.reason == "KEY_VALUES_MISMATCH":
                    raise self._wrong("key", tls.key_file, "does not belong to the certificate") from error
                message = f"cannot be used with its key: {error.reason or error}"
                raise self._wrong("cert", tls.cert_file, message) from error

    def _load_authorities(self, context: ssl.SSLContext, tls: TlsSection) -> None:
        pem = self._read("client_ca", tls.client_ca, tls.client_ca_file, "CERTIFICATE")
        with _in_memory(pem) as path:
            try:
                context.load_verify_locations(path)
            except ssl.SSLError as error:
                message = f"cannot be used: {error.reason or error}"
                raise self._wrong("client_ca", tls.client_ca_file, message) from error

    def _read(self, name: str, inline: str, file: str, label: str) -> bytes:
        """Return the PEM text of ``name``, which has to hold a block of the kind ``label``."""
        pem = inline.encode()
        if file:
            path = self._path.parent / file
            try:
                pem = self._read_file(path)
            except OSError as error:
                raise self._wrong(name, file, f"cannot be read: {error.strerror}") from error
        if f"{label}-----".encode() not in pem:
            raise self._wrong(name, file, f"holds no PEM block of the kind {label}")
        return pem

    def _wrong(self, name: str, file: str, message: str) -> ConfigError:
        key = f"tls_server_config.{name}"
        if file:
            return ConfigError(self._path, None, f"{key}_file", f"{self._path.parent / file} {message}")
        return ConfigError(self._path, None, key, message)


@contextlib.contextmanager
def _in_memory(pem: bytes) -> Iterator[str]:
    # OpenSSL takes paths only, and neither a key nor a half-written copy of one should touch a disk.
    with os.fdopen(os.memfd_create("pem"), "wb") as file:
        file.write(pem)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
