-- HS256 tokens for nginx: libcrypto's HMAC through the FFI, which is the fastest that its Lua module offers.
local ffi = require "ffi"
local cjson = require "cjson.safe"
local base64 = require "ngx.base64"

ffi.cdef [[
const void *EVP_sha256(void);
unsigned char *HMAC(const void *hash, const void *key, int key_length, const unsigned char *message, size_t length,
                    unsigned char *result, unsigned int *result_length);
int CRYPTO_memcmp(const void *one, const void *other, size_t length);
]]

local crypto = ffi.load("libcrypto.so.3")
local result, result_length = ffi.new("unsigned char[64]"), ffi.new("unsigned int[1]")
local secret
local token = {}

function token.set_secret(value) secret = value end

-- The part of a token as a table, or nil.
local function decoded(part)
  local value = cjson.decode(base64.decode_base64url(part) or "")
  return type(value) == "table" and value or nil
end

-- The subject of a valid `Authorization: Bearer` value, or nil.
function token.subject(authorization)
  if not authorization then return nil end
  local signed, head, claims, signature = authorization:match("^[Bb]earer (([%w_-]+)%.([%w_-]+))%.([%w_-]+)$")
  local header = signed and decoded(head)
  if not header or header.alg ~= "HS256" then return nil end
  local given = base64.decode_base64url(signature)
  if not given or #given ~= 32 then return nil end
  crypto.HMAC(crypto.EVP_sha256(), secret, #secret, signed, #signed, result, result_length)
  if crypto.CRYPTO_memcmp(result, given, 32) ~= 0 then return nil end
  local body = decoded(claims)
  if not body or type(body.exp) ~= "number" or body.exp <= ngx.time() then return nil end
  return type(body.sub) == "string" and body.sub or nil
end

return token
