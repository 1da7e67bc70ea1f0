// hiredis 0.14: only its protocol reader and its command formatter (RESP2); sockets are ours.
#pragma once
#include <hiredis/hiredis.h>
#include <hiredis/read.h>
