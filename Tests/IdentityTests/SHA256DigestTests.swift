import Testing

@testable import Identity

@Suite struct SHA256DigestTests {
    /// FIPS 180-4 examples, and the lengths around one block.
    @Test func `known hashes come out as sha256sum prints them`() {
        #expect(SHA256Digest(hashing: "").hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(SHA256Digest(hashing: "abc").hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
        #expect(SHA256Digest(hashing: two).hex == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        let thousand = String(repeating: "a", count: 1_000)
        #expect(
            SHA256Digest(hashing: thousand).hex == "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3")
    }

    @Test func `hex and bytes lead back to the same digest, and nothing else is accepted`() throws {
        let digest = SHA256Digest(hashing: "abc")
        #expect(SHA256Digest(hex: digest.hex) == digest)
        #expect(SHA256Digest(hex: digest.hex.uppercased()) == digest)
        for wrong in ["", "00", String(digest.hex.dropLast()), digest.hex + "0", digest.hex.replacing("b", with: "g")] {
            #expect(SHA256Digest(hex: wrong) == nil, "\(wrong)")
        }
        let bytes = try #require(Base64URL.decode("ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"))
        #expect(SHA256Digest(bytes) == digest)
        #expect(SHA256Digest(bytes.dropLast()) == nil)
    }

    @Test func `two digests are equal only if all bits are`() {
        let zero = [UInt8](repeating: 0, count: 32)
        for bit in 0..<256 {
            var other = zero
            other[bit / 8] = 1 << (bit % 8)
            #expect(SHA256Digest(other) != SHA256Digest(zero))
        }
        #expect(Set([SHA256Digest(hashing: "a"), SHA256Digest(hashing: "b"), SHA256Digest(hashing: "a")]).count == 2)
    }
}
