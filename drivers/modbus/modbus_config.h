// [[inputs.modbus]]: a bus (a serial line, or a connection to a device or gateway), the devices on it, and
// what is read of them. Addresses are the protocol's (0 to 65535); `reference` is the number of the manuals
// instead (40108: holding register 107). Small numbers stand for the words of the rows in modbus_input.cpp,
// in their order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/keys.h"
#include "config/report.h"
#include "config/tls.h"

namespace millrace {

enum class Table : std::uint8_t { coil, discrete, holding, input };
enum class PointType : std::uint8_t {
  u16,
  i16,
  u32,
  i32,
  u64,
  i64,
  f32,
  f64,
  bcd16,
  bcd32,
  bits,
  flag,
  string
};
// How the bytes of a 32-bit number A B C D lie in two registers; of 64 bits alike.
enum class WordOrder : std::uint8_t { abcd, dcba, badc, cdab };
constexpr std::uint8_t open_choice = 255;  // the configuration leaves it open

// A row: what lies where, and what it is called.
struct RegisterConfig {
  std::string name;             // the metric
  std::int32_t reference = -1;  // 40001, 400001; instead of table and address
  std::uint8_t table = static_cast<std::uint8_t>(Table::holding);
  std::int32_t address = -1;
  std::uint8_t type = open_choice;        // open: u16, of coils and discrete inputs a flag
  std::uint8_t byte_order = open_choice;  // open: the map's, the device's
  std::int32_t length = 0;                // registers of a string
  std::int32_t bit = -1, bits = 1;        // of type bits: the lowest, and how many
  double scale = 1, offset = 0;           // value = what comes * scale + offset
  std::int32_t scale_register = -1;       // where a power of ten lies that it is scaled by, too
  std::string unit;
  std::optional<double> min, max;  // what lies outside is of quality bad
  std::optional<double> no_value;  // this raw number says that there is none
  Duration interval{0};            // 0: the device's
  std::string file;                // of maps that are files of their own
  int line = 0;
};

struct MapConfig {
  std::string name;
  std::string file;  // the rows stand there; for more than one bus, or site
  std::uint8_t byte_order = static_cast<std::uint8_t>(WordOrder::abcd);
  Duration interval{0};
  std::vector<RegisterConfig> registers;
  std::vector<std::string> faults;  // of the file
  int line = 0;
};

struct SlaveConfig {
  std::string name;
  std::int32_t unit = 1;
  std::string map;
  std::uint8_t byte_order = open_choice;
  Duration interval{0}, timeout{0};  // 0: the bus's
  std::int32_t registers_max = 0, gap = -1;
  std::vector<std::pair<std::string, std::string>> tags;
  std::vector<RegisterConfig> registers;
  int line = 0;
};

struct Rs485Config {
  bool enabled = false;
  bool rts_on_send = true, rts_after_send = false, receive_own = false;
  std::int32_t delay_before_ms = 0, delay_after_ms = 0;
};

struct ModbusInputConfig {
  std::string name;
  std::string mode = "rtu";  // rtu, tcp, rtu_over_tcp, tls
  std::string device;        // of rtu: "/dev/serial/by-id/..."
  std::string server;        // of the others: "192.0.2.7:502"
  TlsConfig tls;             // of tls
  int baud = 19200;
  std::string parity = "even";  // the standard's default (Modbus over Serial Line, 2.5.1)
  int stop_bits = 1;
  Rs485Config rs485;
  Duration interval = std::chrono::seconds(10);
  Duration timeout = std::chrono::seconds(1);
  Duration pause{0};  // 0: what the standard asks for
  bool echo = false;  // the adapter gives back what it sends
  Duration connect_timeout = std::chrono::seconds(5);
  int retries = 1;
  int registers_max = 125, coils_max = 2000, gap = 16;
  int failures_max = 3;
  Duration recovery_min = std::chrono::seconds(5), recovery_max = std::chrono::minutes(5);
  bool liveness = true;
  ReportConfig report;  // which readings leave
  Duration reopen_min = std::chrono::milliseconds(500), reopen_max = std::chrono::seconds(30);
  std::vector<MapConfig> maps;
  std::vector<SlaveConfig> devices;

  bool over_tcp() const { return mode != "rtu"; }
  bool hears_itself() const { return echo || (rs485.enabled && rs485.receive_own); }
  // With Modbus' own header, whose questions have numbers.
  bool numbered() const { return mode == "tcp" || mode == "tls"; }
  std::uint16_t port() const { return mode == "tls" ? 802 : 502; }  // where the server says none
};

constexpr const char* type_words[] = {"u16", "i16",   "u32",   "i32",  "u64",  "i64",   "f32",
                                      "f64", "bcd16", "bcd32", "bits", "bool", "string"};
constexpr const char* order_words[] = {"ABCD", "DCBA", "BADC", "CDAB"};
constexpr const char* table_words[] = {"coil", "discrete", "holding", "input"};
constexpr bool is_bit_table(Table table) { return table == Table::coil || table == Table::discrete; }

}  // namespace millrace
