// A private key that was made for tests and protects nothing.
#pragma once

namespace millrace {

inline constexpr const char* test_rsa_key =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDAYBhL7YWjQ/rz\n"
    "qb0ArlUrzjEgE2WK5i8FLZV2n/lngRmCM/UzR37O8Ow8+jJECCGJwpgQ0+52/tg8\n"
    "QPtPSwzqqBrYcmlja3+NIGnlODJx3uri/JQ2J9vuvRJV87WcQG2a1H1kYf6VL0Ed\n"
    "mzvjWMU/hEKX+eSYT7ZEJqbVimQVNRapCYwYHyZnHHwdzJK/aF/PKLKh+b1Vix0P\n"
    "SRkRK3ZSSvFaoDAY/KavnvMZJQGzQJx99HMFU6YNHocpUgqPQ/3GHBbKRTM+OpDH\n"
    "3yBLztwJeF4we18oAepRz/MgTWH0Reg1FS3iMY3a0cO5rRnw2Qc863US6U9xGrqH\n"
    "gJcb4PXfAgMBAAECggEATr1mZHmRV+ykxGQG1McGXHo2eEsIJmyl9Ugdo6LB+iAI\n"
    "2Va796O9XyWUhDbiKR9s3s6T4FtmgTU5O5xbYK622Ds7VbmqskNXP2PzhBtW5m3Y\n"
    "FVVNssboydSAs0af4JcsZZGwy0wi4Fwpml0mC52TirZvbXYen0sNLuLlKYVOBrFv\n"
    "IO0fTeX4liH/yUVOkMo1GelprhSEviI5pJQEiuEHryJ0IhTxGes0pwRY9pRVG6uU\n"
    "Bef4kesww/rHL2aAKDBItJcqwDbNcZaglTQFl4wPPIbG0cvjiQcNYubHIFELdX3C\n"
    "w+/FNgNW3i7bt8RuyFwpXuCtSo6P6nJyA0x4cjDAqQKBgQD/ZQ7SMlCBLIyvZ3on\n"
    "LdyApR41ytdqb0DQZ7pKn35l8PAVfZTBGE0cR7g1yGqIen5XPtrzpCM/Jh6OezV0\n"
    "K6Qpt0bP+TcjhtXLJ2Bni3kZM5DSHCFFGbO6lEpLrBxzPeXDvIpfsNIRCd58xtV4\n"
    "oj29G9AHIaweEt+FOivc52liFwKBgQDA1M36rJE+GvZa446suxFOMAPb2wy/ZMBr\n"
    "8KZrssMZb34In0h44HRO4reBC0IjNy15yJ8nm+cur0UmmNeYytVOcy8zsBJwu2V+\n"
    "4yLpBsnemgJe5lmo3G4f6ujTRaLhIHpusZQkccbkhn6SCSiLWDocS9U/5vZKIO9C\n"
    "5PyzTufPeQKBgAk7XPLKMNDKjHdWtTqvVLYtwc7N+0V0qhIefcRuyYHj2LneJT9p\n"
    "onfwO79t9DPkwaZjtkRyXXfN5/Lcj00YusFrR5sC9jRJjnbegISdrQ31KDoAHE/E\n"
    "IxQOgjUEDq83wJN3wES/PoixI6K9CUBoFPU+CSII3JDlu8C0HpvIna2XAoGBALsk\n"
    "C/9SyOagHiSZIddK+YGLIcOWNCnvaruW4rw00hl2VbeidiAxnU8Nwo+vUHGC1FST\n"
    "urojGNr66L6LqPk1KIypRs7/+vWDOP5LC49hsjqh9tkI70ztGMdLIMghlfCsp4WU\n"
    "O7Se4yrXyDCMSNfrOQJLKluJF89bZTjjqMeQNXLpAoGBAKmd45FJkbru6R0TNMsL\n"
    "bqgfg2aAa71bSj2wyYLVCfJ/FeFcNa39wtyYDcBQfmaSMObZnAG7CRgareVVuL3N\n"
    "SPjFIvWWhOm2N3NhSAWYduuU1k42nPC6/yHQvRHrxzkyKdrZbYjCRPzTM1z6TZ12\n"
    "Hw2wQy4Ism/3jdFmJDEjkjix\n"
    "-----END PRIVATE KEY-----\n";

}  // namespace millrace
