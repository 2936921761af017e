// Sentences of NMEA 0183 and telegrams of meters as readings with names and units.
#include <doctest/doctest.h>

#include "base/text.h"
#include "base/time_zone.h"
#include "tests/support/decoding.h"

namespace sentences_test {
using namespace millrace;

namespace {

RouteConfig route_of(const char* format) {
  RouteConfig route;
  route.device = "d";
  route.format = format;
  return route;
}

std::string summed(const std::string& body) {
  std::uint8_t x = 0;
  for (const char c : body) x = static_cast<std::uint8_t>(x ^ static_cast<std::uint8_t>(c));
  constexpr const char* hex = "0123456789ABCDEF";
  return "$" + body + "*" + hex[x >> 4] + hex[x & 15];
}

std::vector<std::string> read(const std::string& body) {
  return decode(route_of("nmea"), summed(body)).readings();
}
using All = std::vector<std::string>;

}  // namespace

TEST_CASE("nmea: positions, with the time of their fix") {
  const Decoded rmc =
      decode(route_of("nmea"), summed("GPRMC,123519.25,A,4807.038,N,01131.000,W,022.4,084.4,230324,003.1,W"));
  CHECK(rmc.status.ok());
  CHECK(rmc.readings() == All{"latitude=48.1173", "longitude=-11.516666667", "speed_over_ground=22.4",
                              "course_over_ground=84.4", "magnetic_variation=-3.1"});
  CHECK(rmc.records[0].unit == "deg");
  CHECK(rmc.records[2].unit == "kn");
  CHECK(format_time(rmc.records[0].time) == "2024-03-23T12:35:19.250000Z");
  CHECK(rmc.records[0].trust == TimeTrust::device);
  CHECK(rmc.records[0].quality == Quality::good);
  // Without a fix: bad, and of the time of its arrival, whatever its clock says.
  const Decoded lost = decode(route_of("nmea"), summed("GPRMC,123519,V,4807.038,N,01131.000,E,,,230394,,"));
  CHECK(lost.records.size() == 2);
  CHECK(lost.records[0].quality == Quality::bad);
  CHECK(lost.records[0].time.us == arrived_us);
  CHECK(lost.unread.no_value == 3);
  // A receiver whose weeks have wrapped says a day in 2004: nobody believes it.
  CHECK(decode(route_of("nmea"), summed("GPRMC,123519,A,4807.038,N,01131.000,E,,,230304,,"))
            .records[0]
            .time.us == arrived_us);
}

TEST_CASE("nmea: a time without a date is of the nearest day") {
  // It arrives at midnight UTC: a quarter to twelve is yesterday's.
  const Decoded gga =
      decode(route_of("nmea"), summed("GPGGA,234500,4807.038,S,01131.000,E,2,08,0.9,545.4,M,46.9,M,,"));
  CHECK(gga.readings() == All{"latitude=-48.1173", "longitude=11.516666667", "fix_quality=2", "satellites=8",
                              "hdop=0.9", "altitude=545.4", "geoid_separation=46.9"});
  CHECK(gga.records[0].time.us == arrived_us - 15 * 60'000'000LL);
  CHECK(decode(route_of("nmea"), summed("GPGLL,4916.45,N,12311.12,W,001000,A")).records[0].time.us ==
        arrived_us + 600'000'000LL);
}

TEST_CASE("nmea: courses, headings, depths, winds, turns, transducers") {
  CHECK(read("GPVTG,054.7,T,034.4,M,005.5,N,010.2,K,A") ==
        All{"course_over_ground=54.7", "course_over_ground_magnetic=34.4", "speed_over_ground=5.5"});
  CHECK(read("GPVTG,054.7,034.4,005.5,010.2") ==
        All{"course_over_ground=54.7", "course_over_ground_magnetic=34.4", "speed_over_ground=5.5"});
  CHECK(read("GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1") ==
        All{"fix_mode=3", "satellites_used=5", "pdop=2.5", "hdop=1.3", "vdop=2.1"});
  CHECK(read("GNGSA,A,3,10,18,23,32,,,,,,,,,1.6,1.0,1.2,1") ==
        All{"fix_mode=3", "satellites_used_gps=4", "pdop=1.6", "hdop=1", "vdop=1.2"});
  CHECK(read("GNGSA,A,3,66,67,82,,,,,,,,,,1.6,1.0,1.2")[1] == "satellites_used_glonass=3");
  CHECK(read("GNGSA,A,3,,,,,,,,,,,,,1.6,1.0,1.2,3")[1] == "satellites_used_galileo=0");
  CHECK(read("GNGSA,A,1,,,,,,,,,,,,,,,") == All{"fix_mode=1"});
  CHECK(read("GLGSA,A,3,66,67,82,,,,,,,,,,1.6,1.0,1.2")[1] == "satellites_used_glonass=3");
  CHECK(read("HEHDT,274.07,T") == All{"heading_true=274.07"});
  CHECK(read("HCHDG,101.1,2.0,W,7.1,E") ==
        All{"heading_magnetic=101.1", "magnetic_deviation=-2", "magnetic_variation=7.1"});
  CHECK(read("SDDPT,12.4,-0.5,100") == All{"depth_below_transducer=12.4", "transducer_offset=-0.5"});
  CHECK(read("SDDBT,,f,,M,2.0,F") == All{"depth_below_transducer=3.6576"});
  CHECK(read("YXMTW,-1.8,C") == All{"water_temperature=-1.8"});
  CHECK(read("TIROT,-35.6,A") == All{"rate_of_turn=-35.6"});
  const Decoded wind = decode(route_of("nmea"), summed("WIMWV,214.8,T,0.1,K,V"));
  CHECK(wind.readings() == All{"wind_angle_true=214.8", "wind_speed_true=0.1"});
  CHECK(wind.records[1].unit == "km/h");
  CHECK(wind.records[1].quality == Quality::bad);
  const Decoded xdr = decode(route_of("nmea"), summed("YXXDR,A,-5.2,D,PTCH,A,7.4,D,ROLL,H,45,P,,X,1,zz,odd"));
  CHECK(xdr.readings() == All{"PTCH=-5.2", "ROLL=7.4", "transducer_3=45", "odd=1"});
  CHECK(xdr.records[2].unit == "%");
  CHECK(xdr.records[3].unit == "zz");
  // A Vaisala WXT520: each kind is counted from 0, in one sentence and over several.
  const Decoded station =
      decode(route_of("nmea"), summed("WIXDR,C,20.4,C,0,C,21.6,C,1,H,53.0,P,0,P,1004.9,H,0"));
  CHECK(station.readings() ==
        All{"temperature_0=20.4", "temperature_1=21.6", "humidity_0=53", "pressure_0=1004.9"});
  CHECK(station.records[3].unit == "hPa");
  CHECK(decode(route_of("nmea"), summed("WIXDR,V,0.02,I,0,Z,10,s,0")).readings() ==
        All{"volume_0=0.02", "Z_0=10"});
  // Names of its own that are there twice, whatever the first says.
  CHECK(decode(route_of("nmea"), summed("YXXDR,C,,C,AIR,H,45,P,AIR,H,46,P,AIR")).readings() ==
        All{"humidity_AIR=45", "humidity_AIR_2=46"});
}

TEST_CASE("nmea: what is not read is passed on whole, and what is wrong is told") {
  CHECK(read("PGRME,15.0,M,45.0,M,25.0,M") == All{"PGRME='$PGRME,15.0,M,45.0,M,25.0,M*1C'"});
  CHECK(decode(route_of("nmea"), "!AIVDM,1,1,,A,14eG;o@034o8sd<L9i:a;WF>062D,0*7D\r\n").readings() ==
        All{"VDM='!AIVDM,1,1,,A,14eG;o@034o8sd<L9i:a;WF>062D,0*7D'"});
  const Decoded mixed = decode(
      route_of("nmea"), summed("HEHDT,1.0,T") + "\r\n$HEHDT,2.0,T*00\r\n" + summed("HEHDT,x,T") + "\n" +
                            summed("GPGLL,9916.45,N,12311.12,W,,A") + "\nhello\n" + summed("HEHDT,3.0,T"));
  CHECK(mixed.readings() == All{"heading_true=1", "longitude=-123.185333333", "heading_true=3"});
  CHECK(mixed.unread.refusals == 4);
  CHECK(mixed.unread.reason().find("checksum is wrong") != std::string::npos);
  CHECK(mixed.unread.reason().find("not a latitude: \"9916.45,N\"") != std::string::npos);
  CHECK(mixed.unread.reason().find("no sentence: \"hello\"") != std::string::npos);
}

TEST_CASE(
    "nmea: fields beyond the bound, times that are none and numbers that do not fit are told, not guessed") {
  std::string many = "YXXDR";
  for (int i = 0; i < 32; ++i) many += text(",C,", i, ",C,T", i);  // 128 fields
  CHECK(read(many).size() == 32);
  const Decoded cut = decode(route_of("nmea"), summed(many + ",C,1,C,LAST"));
  CHECK(cut.records.empty());
  CHECK(cut.unread.reason().find("XDR: more than 128 fields") != std::string::npos);
  const auto time_of = [](const std::string& clock) {
    return decode(route_of("nmea"), summed("GPRMC," + clock + ",A,4807.038,N,01131.000,W,,,230324,,"))
        .records.at(0)
        .trust;
  };
  CHECK(time_of("123519") == TimeTrust::device);
  CHECK(time_of("123519.") == TimeTrust::device);
  for (const char* none : {"1235199", "123519,5", "123519.x", "123519-1", "12351"})
    CHECK(time_of(none) == TimeTrust::gateway);
  const Decoded huge = decode(route_of("nmea"), summed("SDDBT,,f,,M," + std::string(308, '9') + ",F"));
  CHECK(huge.records.empty());
  CHECK(huge.unread.refusals == 1);
}

TEST_CASE("nmea: [metrics] chooses, renames and scales") {
  RouteConfig route = route_of("nmea");
  route.metrics = {{"speed", "speed_over_ground", "m/s"}, {"course", "course_over_ground", ""}};
  route.metrics[0].scale = 1852.0 / 3600;
  const Decoded out =
      decode(route, summed("GPRMC,123519,A,4807.038,N,01131.000,E,036.0,084.4,230324,003.1,W"));
  CHECK(std::get<double>(out.records.at(0).value) == doctest::Approx(18.52));
  CHECK(out.records.size() == 2);
  CHECK(out.records[0].unit == "m/s");
  CHECK(out.records[1].unit == "deg");
  const auto refuses = [&route](const auto& change) {
    RouteConfig other = route;
    change(other);
    return !Router::make({other}).ok();
  };
  CHECK(refuses([](RouteConfig& r) { r.time = "t"; }));
  CHECK(refuses([](RouteConfig& r) { r.time_needed = true; }));
  CHECK(refuses([](RouteConfig& r) { r.strict = true; }));
  CHECK(refuses([](RouteConfig& r) { r.device = "{.id}"; }));
  CHECK(refuses([](RouteConfig& r) { r.fixed_tags = {{"a", "{.b}"}}; }));
  CHECK(refuses([](RouteConfig& r) { r.metrics[0].if_missing = "0"; }));
}

TEST_CASE("obis: a telegram of a P1 port") {
  const Decoded out = decode(
      route_of("obis"),
      "/ISk5\\2MT382-1000\r\n\r\n1-3:0.2.8(50)\r\n0-0:1.0.0(240101120000W)\r\n1-0:1.8.1(123456.789*kWh)\r\n1-0:2.7.0(00.000*kW)\r\n0-0:96.14.0(0002)\r\n"
      "0-0:96.13.0()\r\n1-0:99.97.0(2)(0-0:96.7.19)(101208152415W)(0000000240*s)(101208151004W)(0000000301*s)\r\n0-1:24.1.0(003)\r\n"
      "0-1:96.1.0(3232323241424344313233343536373839)\r\n0-1:24.2.1(240101113000W)(12785.123*m3)\r\n1-0:21.7.0(x*kW)\r\n!");
  CHECK(out.readings() ==
        All{"1-3:0.2.8=50", "meter_time='240101120000W'", "energy_import_tariff_1=123456.789",
            "power_export=0", "tariff=2",
            "1-0:99.97.0='(2)(0-0:96.7.19)(101208152415W)(0000000240*s)(101208151004W)(0000000301*s)'",
            "meter_1_type=3", "meter_1_id='3232323241424344313233343536373839'",
            "meter_1_reading=12785.123"});
  CHECK(format_time(out.records[2].time) == "2024-01-01T11:00:00.000000Z");
  CHECK(format_time(out.records.back().time) == "2024-01-01T10:30:00.000000Z");
  CHECK(out.records[2].unit == "kWh");
  CHECK(out.unread.no_value == 1);
  CHECK(out.unread.reason() == "power_import_l1: not a number: \"x*kW\"");
}

TEST_CASE("obis: older meters, and codes without a medium") {
  const Decoded gas = decode(
      route_of("obis"),
      "/KMP5 KA6U001585575011\r\n\r\n1-0:1.8.2(00123.456*kWh)\r\n0-1:24.3.0(240103140000)(00)(16)(24)(1)(0-1:24.2.1)(m3)\r\n(00024.123)\r\n!");
  CHECK(gas.readings() == All{"energy_import_tariff_2=123.456", "meter_1_reading=24.123"});
  CHECK(gas.records[1].unit == "m3");
  CHECK(format_time(gas.records[1].time) == "2024-01-03T13:00:00.000000Z");
  const Decoded bare = decode(
      route_of("obis"),
      "\x02"
      "F.F(00)\r\n0.0.0(12345678)\r\n1.8.0(000123.45*kWh)\r\n1.8.0*01(000100.00*kWh)\r\n32.7.0(231.0*V)\r\n!\r\n\x03");
  CHECK(bare.readings() ==
        All{"F.F=0", "0.0.0=12345678", "energy_import=123.45", "1.8.0*01=100", "voltage_l1=231"});
}

// As meters of DSMR 2.2 and 3 have it: five values before the unit, the reading in the next line or behind
// it.
TEST_CASE("obis: the gas of older P1 ports is a number with its unit, in whichever line it stands") {
  for (const char* gas : {"0-2:24.3.0(161107190000)(00)(60)(1)(0-2:24.2.1)(m3)\r\n(00001.001)",
                          "0-2:24.3.0(161107190000)(000008)(60)(1)(0-2:24.2.1)(m3)(00001.001)"}) {
    CAPTURE(gas);
    const Decoded out =
        decode(route_of("obis"),
               text("/ISk5\\2MT382-1004\r\n\r\n1-0:1.8.1(00001.001*kWh)\r\n", gas, "\r\n0-2:24.4.0(1)\r\n!"));
    CHECK(out.readings() == All{"energy_import_tariff_1=1.001", "meter_2_reading=1.001", "meter_2_valve=1"});
    CHECK(out.records[1].unit == "m3");
    CHECK(format_time(out.records[1].time) == "2016-11-07T18:00:00.000000Z");
  }
  const Decoded summer = decode(
      route_of("obis"), "/ISk5\r\n\r\n0-1:24.3.0(160707190000)(00)(60)(1)(0-1:24.2.1)(m3)(00001.001)\r\n!");
  REQUIRE(summer.records.size() == 1);
  CHECK(format_time(summer.records[0].time) == "2016-07-07T17:00:00.000000Z");  // no letter says so
  for (const char* bad : {"(00001.00", "(1.0)(2.0)", "()"}) {
    CAPTURE(bad);
    const Decoded out =
        decode(route_of("obis"),
               text("/ISk5\r\n\r\n0-1:24.3.0(161107190000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n", bad, "\r\n!"));
    CHECK(out.readings().empty());
    CHECK(out.unread.reason().starts_with("meter_1_reading: "));
  }
}

TEST_CASE("obis: a telegram's time is of the route's zone, and its letter tells the hour that comes twice") {
  RouteConfig route = route_of("obis");
  const auto time_of = [&](const std::string& zone, const std::string& local) {
    route.time_zone = zone;
    const Decoded out = decode(route, text("/ISK5\r\n\r\n0-0:1.0.0(", local, ")\r\n1-0:1.7.0(1*kW)\r\n!"));
    REQUIRE(out.records.size() == 2);
    return out.records[1].trust == TimeTrust::device ? format_time(out.records[1].time) : "arrival";
  };
  CHECK(time_of("+00:00", "200101120000W") == "2020-01-01T12:00:00.000000Z");
  CHECK(time_of("+05:30", "200101120000") == "2020-01-01T06:30:00.000000Z");
  if (!TimeZone::find("Europe/Amsterdam").ok()) {
    MESSAGE("no time zones are installed (tzdata): not compared");
    return;
  }
  CHECK(time_of("Europe/Amsterdam", "200101120000W") == "2020-01-01T11:00:00.000000Z");
  CHECK(time_of("Europe/Amsterdam", "200701120000S") == "2020-07-01T10:00:00.000000Z");
  CHECK(time_of("Europe/Amsterdam", "201025023000S") == "2020-10-25T00:30:00.000000Z");
  CHECK(time_of("Europe/Amsterdam", "201025023000W") == "2020-10-25T01:30:00.000000Z");
  CHECK(time_of("Europe/Amsterdam", "201025033000W") == "2020-10-25T02:30:00.000000Z");
}

TEST_CASE("obis: a value whose time stands behind it is a number, of that time where the zone is known") {
  RouteConfig route = route_of("obis");
  const std::string telegram =
      "/EMH4\r\n1.6.0(01.234*kW)(2401011215)\r\n1.6.0*01(01.5*kW)(23-12-31 10:15)\r\n"
      "2.6.0(0.0*kW)(0000000000)\r\n1.8.0(5*kWh)(6*kWh)\r\n2.8.0(5*kWh)(1234567890)\r\n3.6.0(x*kvar)(2401011215)\r\n!";
  const All all{"power_import_month_peak=1.234", "1.6.0*01=1.5", "2.6.0=0", "energy_import='(5*kWh)(6*kWh)'",
                "energy_export='(5*kWh)(1234567890)'"};
  const Decoded here = decode(route, telegram);
  CHECK(here.readings() == all);
  CHECK(here.records[0].unit == "kW");
  CHECK(here.records[0].time.us == arrived_us);  // nobody knows of which zone its clock is
  CHECK(here.unread.reason() == "3.6.0: not a number: \"x*kvar\"");
  route.time_zone = "+01:00";
  const Decoded there = decode(route, telegram);
  CHECK(there.readings() == all);
  CHECK(format_time(there.records[0].time) == "2024-01-01T11:15:00.000000Z");
  CHECK(format_time(there.records[1].time) == "2023-12-31T09:15:00.000000Z");
  CHECK(there.records[2].time.us == arrived_us);
}

TEST_CASE("obis: what was stored is not what is, and no two readings of a telegram have one name") {
  const Decoded out =
      decode(route_of("obis"),
             "/LGZ4ZMF100AC.M23\r\n\x02"
             "1.8.0(0012345.678*kWh)\r\n1.8.0*01(0012300.100*kWh)\r\n1.8.0&03(0012100.000*kWh)\r\n"
             "1-0:2.8.0*255(00007.5*kWh)\r\n1-1:1.8.0*255(1*kWh)\r\n1.8.0(2*kWh)\r\n1.8.0(3*kWh)\r\n"
             "0-1:24.2.1(240101113000W)(1.5*m3)\r\n0-1:24.2.3(240101113000W)(1.6*m3)\r\n!");
  CHECK(out.readings() == All{"energy_import=12345.678", "1.8.0*01=12300.1", "1.8.0&03=12100",
                              "energy_export=7.5", "1-1:1.8.0*255=1", "1.8.0=2", "1.8.0_2=3",
                              "meter_1_reading=1.5", "0-1:24.2.3=1.6"});
}

TEST_CASE("obis: a meter that was not read says a time that is none, and its zero is no value") {
  const auto gas = [](const std::string& value) {
    return decode(route_of("obis"), "/ISK5\r\n\r\n0-0:1.0.0(211107190000W)\r\n0-1:24.2.1" + value + "\r\n!");
  };
  for (const char* none : {"(632525252525W)(00000.000)", "(700101010000W)(00000000)", "()(00000.000)",
                           "(000101010000W)(00000.000*m3)", "(211109190000W)(00000.000*m3)",
                           "(211107196000W)(00000.000*m3)", "(FFFFFFFFFFFFW)(00000.000)"}) {
    CAPTURE(none);
    const Decoded out = gas(none);
    CHECK(out.readings() == All{"meter_time='211107190000W'"});
    CHECK(out.unread.no_value == 1);
  }
  CHECK(gas("(211106190000W)(00123.456*m3)").readings().back() == "meter_1_reading=123.456");
  CHECK(gas("(190101190000W)(00123.456*m3)").readings().back() == "meter_1_reading=123.456");
  const Decoded old =
      decode(route_of("obis"),
             "/KMP5\r\n\r\n0-1:24.3.0(000000000000)(00)(16)(24)(1)(0-1:24.2.1)(m3)\r\n(00000.000)\r\n!");
  CHECK(old.readings().empty());
  CHECK(old.unread.no_value == 1);
}

TEST_CASE("obis: digits with a point are a number however many they are, and so is what is known to count") {
  const Decoded out = decode(route_of("obis"),
                             "/LGZ4\r\n2.8.0(0000123.456)\r\n1.8.0(0000012345)\r\n0.9.7(1234567890)\r\n"
                             "96.1.1(123456)\r\n96.13.0(0000000000123)\r\n!");
  CHECK(out.readings() == All{"energy_export=123.456", "energy_import=12345", "0.9.7='1234567890'",
                              "meter_id='123456'", "message='0000000000123'"});
  // Filled up with blanks instead of zeros.
  CHECK(decode(route_of("obis"), "/ABC5\r\n16.7.0( -123.4*W)\r\n1.8.0(    5.25*kWh)\r\n!").readings() ==
        All{"power=-123.4", "energy_import=5.25"});
}

TEST_CASE("mbus: a factor behind the meaning is part of the value") {
  const auto read = [](std::string_view digits) {
    return decode(route_of("mbus"), from_hex("080272785634122440010755000000" + std::string(digits)));
  };
  // Of an Elvaco CMa10: 45.64 %RH, not 4564; the lowest and the highest, too.
  const Decoded air = read("02fc0348522574d41122fc0348522574c81112fc0348522574b416");
  const std::string id = "meter_id='12345678.PAD.1.7'";
  CHECK(air.readings() == All{id, "value=45.64", "value_min=45.52", "value_max=58.12"});
  CHECK(air.records[1].unit == "%RH");
  // Cubic metres and degrees in ISO 8859-1, the last letter first.
  const Decoded water = read(
      "027c02b36d0100"
      "027c0243b01500");
  CHECK(water.readings() == All{id, "value=1", "value_2=21"});
  CHECK(water.records[1].unit == "m\xc2\xb3");
  CHECK(water.records[2].unit ==
        "\xc2\xb0"
        "C");
  // A thousand, a hundredth, and a tenth of a thousand.
  CHECK(read("02837d0100").readings() == All{id, "energy=1000"});
  CHECK(read("0283740100").readings() == All{id, "energy=0.01"});
  CHECK(read("0283f57d0100").readings() == All{id, "energy=100"});
  // Per hour (22), also where the unit is in words: nobody knows what it is.
  const Decoded rate = read(
      "02fc0348522522d411"
      "0283220100");
  CHECK(rate.readings() == All{id, "record_1=4564", "record_2=1"});
  CHECK(rate.records[1].unit.empty());
  // More of them than there may be.
  CHECK(read("0283"
             "f0f0f0f0f0f0f0f0f0f0f0"
             "700100")
            .readings() == All{id, "record_1=1"});
}

TEST_CASE("mbus: what large meters count has its unit, too") {
  const auto read = [](std::string_view digits) {
    return decode(route_of("mbus"), from_hex("080272785634122440010755000000" + std::string(digits)));
  };
  // MWh and tenths of them, GJ, hundreds of m3 and of tonnes, MW, tenths of GJ/h, and a humidity.
  const Decoded out = read(
      "04fb0139300000"
      "04fb00d2040000"
      "04fb0907000000"
      "02fb100300"
      "02fb180200"
      "02fb290400"
      "02fb300500"
      "02fb1ad201"
      "44fb0102000000");
  CHECK(out.readings() == All{"meter_id='12345678.PAD.1.7'", text("energy=", 12345e6),
                              text("energy_2=", 1234e5), text("energy_3=", 7e9), "volume=300",
                              text("mass=", 2e5), text("power=", 4e6), text("power_2=", 5e8), "humidity=46.6",
                              text("energy_storage_1=", 2e6)});
  CHECK(out.records[1].unit == "Wh");
  CHECK(out.records[3].unit == "J");
  CHECK(out.records[7].unit == "J/h");
  // Others behind FB, and what is changed further, have no name; 17 is flags behind FD alone.
  CHECK(read("02fb210100"
             "02fb81220100"
             "02fb170100")
            .readings() == All{"meter_id='12345678.PAD.1.7'", "record_1=1", "record_2=1", "record_3=1"});
}

TEST_CASE("mbus: what is encrypted is no reading, whatever it looks like") {
  const std::string meter = "080172785634122423010755", records = "041378563412";
  const auto read = [&](const std::string& rest) { return decode(route_of("mbus"), from_hex(meter + rest)); };
  for (const char* word : {"3005", "6007", "1085", "300d"}) {  // modes 5, 7, 5 with a bit above it, 13
    CAPTURE(word);
    const Decoded out = read("00" + std::string(word) + records);
    CHECK_FALSE(out.status.ok());
    CHECK(out.status.detail().find("encrypted") != std::string::npos);
    CHECK(out.records.empty());
    // Behind a short header, too; decrypted on its way it begins with fillers.
    CHECK_FALSE(decode(route_of("mbus"), from_hex("08017a5500" + std::string(word) + records)).status.ok());
    CHECK(read("00" + std::string(word) + "2f2f" + records).records.size() == 2);
  }
  // No mode, no bytes of it, and what old meters have there (amt_calec_mb, and the standard's own example).
  for (const char* word : {"0000", "0005", "ffff", "27b6"}) {
    CAPTURE(word);
    CHECK(read("00" + std::string(word) + records).records.size() == 2);
  }
}

TEST_CASE("mbus: an answer of the documentation, dates, texts, BCD that is none, and what ends early") {
  const std::string head = "080272785634122440010755000000";
  const Decoded out = decode(route_of("mbus"), from_hex(head + "0313153100da023b13018b6004371802"));
  CHECK(out.readings() == All{"meter_id='12345678.PAD.1.7'", "volume=12.565", "flow_max_storage_5=0.113",
                              "energy_tariff_2_unit_1=218370"});
  CHECK(out.records[1].unit == "m3");
  const Decoded more = decode(route_of("mbus"), from_hex(head + "025a0102"
                                                                "0c06785634f2"
                                                                "02ff20abcd"
                                                                "0d7803414243"
                                                                "046d1e4bd122"
                                                                "426ccf2c"
                                                                "02fd480109"
                                                                "2266f6ff"
                                                                "0a5aaa11"
                                                                "1f0102"));
  CHECK(more.readings() == All{"meter_id='12345678.PAD.1.7'", "flow_temperature=51.3", "energy=-2345678000",
                               "record_1=-12885", "fabrication_number='CBA'", "meter_time='2022-02-17 11:30'",
                               "date_storage_1='2022-12-15'", "voltage=230.5",
                               "external_temperature_min=-1"});
  CHECK(more.unread.no_value == 1);
  // A unit in words beside a text; dates of other sizes, which are other types; numbers of 16 bytes and more;
  // a reserved length.
  const std::string id = "meter_id='12345678.PAD.1.7'";
  CHECK(decode(route_of("mbus"), from_hex(head + "0d7c01780179")).readings() == All{id, "value='y'"});
  CHECK(decode(route_of("mbus"), from_hex(head + "046c01020304"
                                                 "026d0102"
                                                 "036d010203"))
            .readings() == All{id, "record_1=67305985", "record_2=513", "record_3=197121"});
  CHECK(decode(route_of("mbus"), from_hex(head + "0d13f0" + std::string(32, '0') + "0d13f6" +
                                          std::string(128, '0') + "025a0102"))
            .readings() == All{id, "flow_temperature=51.3"});
  CHECK(decode(route_of("mbus"), from_hex(head + "0d13f7" + std::string(128, '0')))
            .unread.reason()
            .find("a record that does not end") != std::string::npos);
  CHECK(decode(route_of("mbus"), from_hex(head + "0413ab"))
            .unread.reason()
            .find("a record that does not end") != std::string::npos);
  CHECK_FALSE(decode(route_of("mbus"), from_hex("08025b")).status.ok());
  CHECK(decode(route_of("mbus"), "\xe5").unread.no_value == 1);
  // A real has seven digits; two records of one meaning are two readings, whatever the first says; a date of
  // all bits, of day 0, month 13 or hour 31 is none.
  CHECK(decode(route_of("mbus"), from_hex(head + "055b6666aa41"
                                                 "052ecdcccc3d"))
            .readings() == All{id, "flow_temperature=21.3", "power=100"});
  CHECK(decode(route_of("mbus"), from_hex(head + "040601000000"
                                                 "040602000000"
                                                 "040b03000000"
                                                 "440604000000"))
            .readings() == All{id, "energy=1000", "energy_2=2000", "energy_3=3000", "energy_storage_1=4000"});
  CHECK(decode(route_of("mbus"), from_hex(head + "0c06aaaaaaaa"
                                                 "0c0602000000"))
            .readings() == All{id, "energy_2=2000"});
  for (const char* none : {"426cffff", "426c002c", "426ccd2d", "046d1e5fd122", "046d3f4bd122", "426cffe1"}) {
    CAPTURE(none);
    CHECK(decode(route_of("mbus"), from_hex(head + none)).readings() == All{id});
  }
}

TEST_CASE("mbus: the fixed data of old meters") {
  const std::string head = "080573785634120a";
  const Decoded out = decode(route_of("mbus"), from_hex(head + "00e97e0100000035010000"));
  CHECK(out.readings() == All{"meter_id='12345678'", "volume=0.001", "volume_storage_1=0.135"});
  CHECK(out.records[1].unit == "m3");
  const Decoded two = decode(route_of("mbus"), from_hex(head + "0405053412000078560000"));
  CHECK(two.readings() == All{"meter_id='12345678'", "energy=1234000", "energy_2=5678000"});
  CHECK(two.records[1].quality == Quality::uncertain);
  CHECK(decode(route_of("mbus"), from_hex(head + "0005009999999912000000")).readings() ==
        All{"meter_id='12345678'", "energy=99999999000"});
  CHECK_FALSE(decode(route_of("mbus"), from_hex(head + "0105050000000000000000")).status.ok());
  CHECK_FALSE(decode(route_of("mbus"), from_hex(head + "00e97e01")).status.ok());
}

}  // namespace sentences_test
