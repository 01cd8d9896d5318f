"""The registered names of TLS code points: cipher suites, groups, signature schemes, versions.

TLS negotiates by numbers, which IANA registers ("TLS Parameters"). Here are the names of those
that a present peer may offer: every suite of TLS 1.3, the suites of TLS 1.2 with an ephemeral or
an RSA key exchange and a cipher still in use, every named group and every signature scheme. Any
other is shown as the number, so that none is named wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping


def _families(table: Mapping[str, str]) -> dict[int, str]:
    """``{"TLS_{}_SHA": "002f AES_128_CBC, ..."}`` as one dictionary, by code point."""
    names: dict[int, str] = {}
    for family, members in table.items():
        for member in members.split(","):
            code, name = member.split()
            names[int(code, 16)] = family.format(name)
    return names


# RFC 8446 §B.4, RFC 5246 §A.5, RFC 5288, RFC 5289, RFC 6655, RFC 7251, RFC 7905, RFC 9150.
CIPHER_SUITES = _families(
    {
        "TLS_{}": "1301 AES_128_GCM_SHA256, 1302 AES_256_GCM_SHA384,"
        "1303 CHACHA20_POLY1305_SHA256, 1304 AES_128_CCM_SHA256, 1305 AES_128_CCM_8_SHA256,"
        "1306 AEGIS_256_SHA512, 1307 AEGIS_128L_SHA256, c0b4 SHA256_SHA256, c0b5 SHA384_SHA384,"
        # Not suites: signals (RFC 5746 §3.3, RFC 7507 §2).
        "00ff EMPTY_RENEGOTIATION_INFO_SCSV, 5600 FALLBACK_SCSV",
        "TLS_ECDHE_ECDSA_WITH_{}": "c008 3DES_EDE_CBC_SHA, c009 AES_128_CBC_SHA,"
        "c00a AES_256_CBC_SHA, c023 AES_128_CBC_SHA256, c024 AES_256_CBC_SHA384,"
        "c02b AES_128_GCM_SHA256, c02c AES_256_GCM_SHA384, c0ac AES_128_CCM, c0ad AES_256_CCM,"
        "c0ae AES_128_CCM_8, c0af AES_256_CCM_8, cca9 CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_{}": "c012 3DES_EDE_CBC_SHA, c013 AES_128_CBC_SHA,"
        "c014 AES_256_CBC_SHA, c027 AES_128_CBC_SHA256, c028 AES_256_CBC_SHA384,"
        "c02f AES_128_GCM_SHA256, c030 AES_256_GCM_SHA384, cca8 CHACHA20_POLY1305_SHA256",
        "TLS_DHE_RSA_WITH_{}": "0016 3DES_EDE_CBC_SHA, 0033 AES_128_CBC_SHA,"
        "0039 AES_256_CBC_SHA, 0067 AES_128_CBC_SHA256, 006b AES_256_CBC_SHA256,"
        "009e AES_128_GCM_SHA256, 009f AES_256_GCM_SHA384, c09e AES_128_CCM, c09f AES_256_CCM,"
        "c0a2 AES_128_CCM_8, c0a3 AES_256_CCM_8, ccaa CHACHA20_POLY1305_SHA256",
        "TLS_RSA_WITH_{}": "000a 3DES_EDE_CBC_SHA, 002f AES_128_CBC_SHA, 0035 AES_256_CBC_SHA,"
        "003c AES_128_CBC_SHA256, 003d AES_256_CBC_SHA256, 009c AES_128_GCM_SHA256,"
        "009d AES_256_GCM_SHA384, c09c AES_128_CCM, c09d AES_256_CCM, c0a0 AES_128_CCM_8,"
        "c0a1 AES_256_CCM_8",
    }
)

# RFC 8422 §5.1.1, RFC 8446 §4.2.7, RFC 7919, RFC 8734, RFC 8998, RFC 9189; ML-KEM and its hybrids.
GROUPS = _families(
    {
        "{}": "0022 GC256A, 0023 GC256B, 0024 GC256C, 0025 GC256D, 0026 GC512A, 0027 GC512B,"
        "0028 GC512C, 0029 curveSM2, 001d x25519, 001e x448, 0200 MLKEM512, 0201 MLKEM768,"
        "0202 MLKEM1024, 11eb SecP256r1MLKEM768, 11ec X25519MLKEM768, 11ed SecP384r1MLKEM1024,"
        "11ee curveSM2MLKEM768, ff01 arbitrary_explicit_prime_curves,"
        "ff02 arbitrary_explicit_char2_curves, 6399 X25519Kyber768Draft00,"
        "639a SecP256r1Kyber768Draft00",
        "sect{}": "0001 163k1, 0002 163r1, 0003 163r2, 0004 193r1, 0005 193r2, 0006 233k1,"
        "0007 233r1, 0008 239k1, 0009 283k1, 000a 283r1, 000b 409k1, 000c 409r1, 000d 571k1,"
        "000e 571r1",
        "secp{}": "000f 160k1, 0010 160r1, 0011 160r2, 0012 192k1, 0013 192r1, 0014 224k1,"
        "0015 224r1, 0016 256k1, 0017 256r1, 0018 384r1, 0019 521r1",
        "brainpoolP{}": "001a 256r1, 001b 384r1, 001c 512r1, 001f 256r1tls13, 0020 384r1tls13,"
        "0021 512r1tls13",
        "ffdhe{}": "0100 2048, 0101 3072, 0102 4096, 0103 6144, 0104 8192",
    }
)

# RFC 8446 §4.2.3, RFC 8734, RFC 8998, RFC 9189, RFC 9367; ML-DSA, SLH-DSA. The
# pairs with SHA-224 and DSA are RFC 5246's §7.4.1.4.1 and have no names of their own in the
# registry.
SIGNATURE_SCHEMES = _families(
    {
        "rsa_pkcs1_{}": "0201 sha1, 0301 sha224, 0401 sha256, 0501 sha384, 0601 sha512",
        "dsa_{}": "0202 sha1, 0302 sha224, 0402 sha256, 0502 sha384, 0602 sha512",
        "ecdsa_{}": "0203 sha1, 0303 sha224, 0403 secp256r1_sha256, 0503 secp384r1_sha384,"
        "0603 secp521r1_sha512, 081a brainpoolP256r1tls13_sha256,"
        "081b brainpoolP384r1tls13_sha384, 081c brainpoolP512r1tls13_sha512",
        "rsa_pss_{}": "0804 rsae_sha256, 0805 rsae_sha384, 0806 rsae_sha512, 0809 pss_sha256,"
        "080a pss_sha384, 080b pss_sha512",
        "rsa_pkcs1_{}_legacy": "0420 sha256, 0520 sha384, 0620 sha512",
        "gostr34102012_{}": "0709 256a, 070a 256b, 070b 256c, 070c 256d, 070d 512a, 070e 512b,"
        "070f 512c",
        "slhdsa_{}": "0911 sha2_128s, 0912 sha2_128f, 0913 sha2_192s, 0914 sha2_192f,"
        "0915 sha2_256s, 0916 sha2_256f, 0917 shake_128s, 0918 shake_128f, 0919 shake_192s,"
        "091a shake_192f, 091b shake_256s, 091c shake_256f",
        "{}": "0807 ed25519, 0808 ed448, 0704 eccsi_sha256, 0705 iso_ibs1, 0706 iso_ibs2,"
        "0707 iso_chinese_ibs, 0708 sm2sig_sm3, 0904 mldsa44, 0905 mldsa65, 0906 mldsa87",
    }
)

# As `ssl.SSLObject.version` spells them, so that a trace and a report agree.
VERSIONS = {768: "SSLv3", 769: "TLSv1", 770: "TLSv1.1", 771: "TLSv1.2", 772: "TLSv1.3"}

# ClientCertificateType (RFC 5246 §7.4.4, RFC 8422 §5.5).
CERTIFICATE_TYPES = {1: "rsa_sign", 2: "dss_sign", 64: "ecdsa_sign"}

# CertificateCompressionAlgorithm (RFC 8879 §7.3).
COMPRESSION = {1: "zlib", 2: "brotli", 3: "zstd"}


def named(names: Mapping[int, str], code: int, width: int = 2) -> str:
    """The name in one of these tables, or the number in hexadecimal, ``width`` bytes wide."""
    name = names.get(code)
    if name is not None:
        return name
    number = f"0x{code:0{2 * width}x}"
    # Reserved numbers that browsers mix in, so that servers stay used to unknown ones (RFC 8701).
    grease = width == 2 and code & 0x0F0F == 0x0A0A and code >> 8 == code & 0xFF
    return f"GREASE {number}" if grease else number
