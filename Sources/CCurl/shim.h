// libcurl for Swift: `curl_easy_setopt` is variadic, so each argument type has a wrapper.
#pragma once
#include <curl/curl.h>
static inline CURLcode weir_curl_set_long(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode weir_curl_set_text(CURL *handle, CURLoption option, const char *value) {
    return curl_easy_setopt(handle, option, value);
}
static inline CURLcode weir_curl_set_pointer(CURL *handle, CURLoption option, void *value) {
    return curl_easy_setopt(handle, option, value);
}
typedef size_t (*weir_curl_writer)(char *bytes, size_t size, size_t count, void *context);
static inline CURLcode weir_curl_set_writer(CURL *handle, weir_curl_writer writer) {
    return curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, writer);
}
static inline CURLcode weir_curl_get_long(CURL *handle, CURLINFO info, long *value) {
    return curl_easy_getinfo(handle, info, value);
}
